// Loaded into a daemon before its own code: a request that was sent cannot be ended any more, by no deadline and no
// signal, as by a defect that no adapter of ours has.
import { ClientRequest } from 'node:http'

ClientRequest.prototype.destroy = function destroy() {
  return this
}

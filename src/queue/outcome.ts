/**
 * What becomes of a job whose handler failed. Pure: the lane executes what this decides.
 */
import type { MemsyncError } from '../errors.ts'

export type FailureAction =
  /** It cannot succeed without a person. */
  | 'dead-letter'
  /** It burns an attempt and is tried again after a delay, or is a dead letter where none is left. */
  | 'retry'
  /** It goes back unpenalised: what failed is a dependency, or this process is stopping. */
  | 'give-back'

export function decideFailure(error: MemsyncError): FailureAction {
  switch (error.class) {
    case 'permanent':
      return 'dead-letter'
    case 'transient':
      return 'retry'
    case 'outage':
    case 'credentials':
      return 'give-back'
    default:
      return error.class satisfies never
  }
}

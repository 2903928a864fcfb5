/** Loaded before the daemon (`--import`): its handler for memories never ends, as one that waits on something lost. */
import { BUILT_IN_HANDLERS } from '../../dist/queue/index.js'

BUILT_IN_HANDLERS.MEMORY_SYNC = () => new Promise(() => undefined)

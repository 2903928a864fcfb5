/** `npm test`: the test runner on a fresh build. Arguments are the runner's own: `npm test -- tests/cli`. */
import { join } from 'node:path'
import { become } from './process.mjs'
import { NODE, ROOT, setUp } from './setup.mjs'

// The tests start servers of their own, so a REDIS_URL is no substitute.
await setUp({ redis: 'needed' })
become(NODE, [join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...process.argv.slice(2)])

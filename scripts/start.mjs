/** `npm start`: the daemon in the foreground, from a bare checkout. */
import { join } from 'node:path'
import { become } from './process.mjs'
import { NODE, ROOT, setUp } from './setup.mjs'

await setUp({ redis: 'or-url' })
become(NODE, [join(ROOT, 'dist', 'workers', 'memorySync-worker.js'), ...process.argv.slice(2)])

/** `npm run prove`: the proof on a fresh build. Arguments are the proof's own. */
import { join } from 'node:path'
import { become } from './process.mjs'
import { NODE, ROOT, setUp } from './setup.mjs'

await setUp({ redis: 'needed' })
become(NODE, [join(ROOT, 'prove', 'index.ts'), ...process.argv.slice(2)])

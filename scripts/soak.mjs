/** `npm run soak` on a fresh build. Arguments are its own. */
import { join } from 'node:path'
import { become } from './process.mjs'
import { NODE, ROOT, setUp } from './setup.mjs'

await setUp({ redis: 'needed' })
become(NODE, [join(ROOT, 'prove', 'faults', 'soak.ts'), ...process.argv.slice(2)])

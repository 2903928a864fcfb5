/** `npm run bench`: the benchmark on a fresh build. Arguments are the benchmark's own. */
import { join } from 'node:path'
import { become } from './process.mjs'
import { NODE, ROOT, setUp } from './setup.mjs'

await setUp({ redis: 'needed' })
become(NODE, [join(ROOT, 'bench', 'index.ts'), ...process.argv.slice(2)])

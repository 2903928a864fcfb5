/** `npm run docs`: the tables of the documents anew, from the code that they describe. */
import { join } from 'node:path'
import { become } from './process.mjs'
import { NODE, ROOT, setUp } from './setup.mjs'

await setUp()
become(NODE, [join(ROOT, 'scripts', 'docs.ts')])

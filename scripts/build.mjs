/** `npm run build:workers`: dist/, from a bare checkout; nothing to do when it is newer than its sources. */
import { setUp } from './setup.mjs'

await setUp()

/** `npm run check`: everything that can be wrong without running a test. All of it runs, whatever fails first. */
import { join } from 'node:path'
import { capture } from './process.mjs'
import { NODE, ROOT, setUp } from './setup.mjs'
import { checkSignatures } from './signatures.mjs'

const CHECKS = [
  { name: 'format and lint (biome)', command: ['@biomejs/biome/bin/biome', 'check', '--error-on-warnings'] },
  { name: 'types (tsc)', command: ['typescript/bin/tsc', '--noEmit', '-p', '.'] },
  { name: 'unused code (knip)', command: ['knip/bin/knip.js'] },
  { name: 'package (publint)', command: ['publint/src/cli.js', '--strict'] },
]

await setUp()
let failed = 0
// Mostly waits for the network, so it goes beside the others.
const signed = checkSignatures(ROOT)
for (const { name, command } of CHECKS) {
  const [program, ...args] = command
  const { code, output } = await capture(NODE, [join(ROOT, 'node_modules', program), ...args])
  if (code !== 0) {
    failed++
    process.stdout.write(`${output.trimEnd()}\n`)
  }
  process.stdout.write(`${code === 0 ? 'ok    ' : 'FAILED'} ${name}\n`)
}
const { passed, reason, output } = await signed
if (passed === false) {
  failed++
  process.stdout.write(`${output.trimEnd()}\n`)
}
const verdict = passed === undefined ? 'skipped' : passed ? 'ok    ' : 'FAILED'
process.stdout.write(`${verdict} signatures (npm)${reason ? `: ${reason}` : ''}\n`)
const total = CHECKS.length + (passed === undefined ? 0 : 1)
process.stdout.write(`check: ${total - failed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1

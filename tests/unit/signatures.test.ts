/** What `npm audit signatures` says, and what is made of it: never a failure where nobody could be asked, never a pass. */
import { expect, it } from 'vitest'
import { judgeSignatures } from '../../scripts/signatures.mjs'

it.each([
  [0, 'audited 232 packages in 3s\n\n232 packages have verified registry signatures\n', true],
  [1, 'audited 232 packages\n\n1 package has an invalid registry signature:\n\nleft-pad@1.0.0\n', false],
  [1, '2 packages have invalid attestations:\n', false],
  [1, '3 packages have missing registry signatures but the registry is providing signing keys:\n', false],
  [
    1,
    'npm error code ENOTFOUND\nnpm error network request to https://tuf.example/15.root.json failed, reason: x\n',
    undefined,
  ],
  [1, 'npm error found no dependencies to audit that were installed from a supported registry\n', undefined],
  [null, '', undefined],
])('exit code %s: %j', (code, output, passed) => {
  const judged = judgeSignatures({ code, output })
  expect(judged.passed).toBe(passed)
  if (passed === undefined) expect(judged.reason).toMatch(/\w/)
})

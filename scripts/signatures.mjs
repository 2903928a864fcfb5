/** Whether the registry signed what the lockfile asks for: `npm audit signatures`, and what its answer means. */
import { capture } from './process.mjs'

/** Away from a network npm tries for longer than a check may take. */
const TIMEOUT_MS = 30_000

/** @returns `passed` is undefined where nobody could be asked, with the reason */
export function judgeSignatures({ code, output }) {
  if (/invalid (?:registry )?(?:signature|attestation)|missing registry signature/i.test(output))
    return { passed: false }
  if (code === 0) return { passed: true }
  const [, reason] = /npm error ((?:network )?(?:request to|code) \S+.*)/.exec(output) ?? []
  const [problem] = output
    .split('\n')
    .filter((line) => /^npm error (?!A complete log)\S/.test(line))
    .slice(-1)
  const said = reason ?? problem?.replace('npm error ', '') ?? `no answer within ${TIMEOUT_MS / 1000} s`
  return { passed: undefined, reason: said.trim() }
}

export async function checkSignatures(cwd) {
  const ended = await capture('npm', ['audit', 'signatures', '--fetch-retries=0'], {
    cwd,
    timeout: TIMEOUT_MS,
  })
  return { ...judgeSignatures(ended), output: ended.output }
}

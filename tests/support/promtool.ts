/** Prometheus' own checker, where it is installed. */
import { spawnSync } from 'node:child_process'

export const HAS_PROMTOOL = spawnSync('promtool', ['--version']).status === 0

/** Why a test is left out; the test's name ends with it, so that it is seen. */
export const WITHOUT_PROMTOOL = HAS_PROMTOOL
  ? ''
  : ' (LEFT OUT: no promtool; Debian: apt-get install prometheus)'

export function promtool(args: string[], input = ''): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', input })
  return { status, said: `${stdout}${stderr}` }
}

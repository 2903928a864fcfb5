/**
 * The clock of this machine against that of the servers it speaks to, by the `Date` of an answer, and against the newest
 * memory. Only the order of what was spooled, time in the logs and certificates depend on it, and those badly.
 */
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Config } from '../../config.ts'
import { formatDuration } from '../../duration.ts'
import { PLATFORM_URL } from '../../infrastructure/remote/configured.ts'
import { DEFAULT_BASE_URL } from '../../infrastructure/sdk/openai.ts'
import type { Finding, Say } from './finding.ts'
import { embeds } from './outside.ts'

const ANSWER_TIMEOUT_MS = 4_000
/** A `Date` is a second exact, and an answer takes a while. */
const TOLERATED_MS = 30_000
/** From here on certificates and signed requests fail. */
const SEVERE_MS = 300_000

interface ServerTime {
  host: string
  /** How far this machine is ahead of the server, in milliseconds. */
  aheadMs: number
}

/** @param newestMs when the newest memory was written, in Unix milliseconds; null or undefined where nobody knows */
export async function checkClock(
  say: Say,
  config: Config,
  newestMs: number | null | undefined,
): Promise<Finding[]> {
  const urls = [
    ...(config.remoteKind === 'none' ? [] : [config.remoteUrl ?? PLATFORM_URL]),
    ...(embeds(config) ? [config.openaiBaseUrl ?? DEFAULT_BASE_URL] : []),
  ]
  const times = await Promise.all(urls.map(askServerTime))
  return judgeClock(
    say,
    times.filter((time) => time !== undefined),
    newestMs ?? undefined,
    Date.now(),
  )
}

/** Pure. */
export function judgeClock(
  say: Say,
  times: readonly ServerTime[],
  newestMs: number | undefined,
  nowMs: number,
): Finding[] {
  const fix = process.platform === 'darwin' ? 'sudo sntp -sS time.apple.com' : 'sudo timedatectl set-ntp true'
  const findings = times
    .filter(({ aheadMs }) => Math.abs(aheadMs) > TOLERATED_MS)
    .map(({ host, aheadMs }) => {
      const off = `${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead of' : 'behind'}`
      const says = `this machine's clock is ${off} that of ${host}`
      return Math.abs(aheadMs) > SEVERE_MS ? say.failure(says, fix) : say.warning(says, fix)
    })
  const futureMs = (newestMs ?? 0) - nowMs
  if (futureMs > TOLERATED_MS) {
    const off = formatDuration(futureMs)
    findings.push(say.warning(`the newest memory was written ${off} from now: the clock went back`, fix))
  }
  if (findings.length > 0) return findings
  if (times.length === 0) return [say.ok('no server to compare it with; no memory is from the future')]
  return [say.ok(`agrees with ${[...new Set(times.map(({ host }) => host))].join(' and ')}`)]
}

/** Undefined where it does not answer, which another check tells, or says no time. */
function askServerTime(url: string): Promise<ServerTime | undefined> {
  const { promise, resolve } = Promise.withResolvers<ServerTime | undefined>()
  const { protocol, host } = new URL(url)
  const send = protocol === 'https:' ? httpsRequest : httpRequest
  const startedAtMs = Date.now()
  // Nothing is sent that is worth anything, and a clock that is wrong is just what makes a certificate seem so.
  const outgoing = send(url, {
    method: 'HEAD',
    agent: false,
    rejectUnauthorized: false,
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  })
  outgoing.on('response', (response) => {
    const here = (startedAtMs + Date.now()) / 2
    // Cut off below the second, so half of one is added.
    const there = Date.parse(response.headers.date ?? '') + 500
    response.destroy()
    resolve(Number.isNaN(there) ? undefined : { host, aheadMs: here - there })
  })
  outgoing.on('error', () => resolve(undefined))
  outgoing.end()
  return promise
}

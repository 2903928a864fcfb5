/** The remote that the settings name. */
import type { Config } from '../../config.ts'
import type { Remote } from './port.ts'

export const PLATFORM_URL = 'https://api.mem0.ai'
const MAX_PROBE_MS = 5_000

/**
 * The remote that the settings name, or undefined where they name none: then its clients, and the HTTP they bring,
 * are not even loaded (7 MB).
 * @throws MEMSYNC_BAD_SETTING
 */
export async function openConfiguredRemote(config: Config): Promise<Remote | undefined> {
  if (config.remoteKind === 'none') return undefined
  const { openRemote } = await import('./index.ts')
  return openRemote(config.remoteKind, {
    // The settings have one, or name the platform.
    url: config.remoteUrl ?? PLATFORM_URL,
    key: config.remoteKey,
    probePath: config.remoteProbePath,
    callTimeoutMs: config.pushTimeoutMs,
    probeTimeoutMs: probeTimeoutMs(config),
  })
}

/** A probe is answered soon or not at all, and never takes longer than a push may. */
export function probeTimeoutMs({ pushTimeoutMs }: Pick<Config, 'pushTimeoutMs'>): number {
  return Math.min(MAX_PROBE_MS, pushTimeoutMs)
}

/** What the push receipts are tied to: another server, or another kind, knows nothing of them. */
export function remoteIdentity(config: Pick<Config, 'remoteKind' | 'remoteUrl'>): string {
  const url = (config.remoteUrl ?? PLATFORM_URL).replace(/\/+$/, '')
  return config.remoteKind === 'none' ? '' : `${config.remoteKind} ${url}`
}

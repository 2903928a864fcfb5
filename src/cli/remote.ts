/** What `memsync verify` and `reconcile` share: the remote that is meant, how far they are, and what they found. */
import type { Config } from '../config.ts'
import { MemsyncError } from '../errors.ts'
import type { MemoryName, Store } from '../infrastructure/memory/port.ts'
import { openConfiguredRemote, remoteIdentity } from '../infrastructure/remote/configured.ts'
import type { Remote } from '../infrastructure/remote/port.ts'
import type { VerifyProgress } from '../infrastructure/remote/verify.ts'
import { DEFAULT_NAMESPACE } from '../jobs/key.ts'
import { printable } from './output.ts'
import { ProgressBar } from './progressBar.ts'

/**
 * The remote of the settings.
 * @throws MEMSYNC_BAD_SETTING where there is none, or where the receipts of the store speak of another
 */
export async function theRemote(config: Config, store: Pick<Store, 'remoteState'>): Promise<Remote> {
  const remote = await openConfiguredRemote(config)
  if (!remote) {
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      'MEMSYNC_REMOTE_KIND: is none, so there is no remote; for example MEMSYNC_REMOTE_KIND=mem0',
    )
  }
  const { identity } = await store.remoteState()
  if (identity !== '' && identity !== remoteIdentity(config)) {
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `MEMSYNC_REMOTE_URL: names another remote (${remoteIdentity(config)}) than the one this store was pushed to ` +
        `(${identity}); a daemon with these settings pushes everything to it first`,
    )
  }
  return remote
}

/** How far a verification is, on the terminal. */
export function progressTeller(): { tell: (progress: VerifyProgress) => void; clear: () => void } {
  const bar = new ProgressBar(process.stderr)
  return {
    tell: ({ read, checked, total, found }) =>
      bar.update({
        ...{ done: checked, total },
        tallies: [
          [checked, 'checked'],
          [read, 'read from the remote'],
          [found, 'wrong'],
        ],
      }),
    clear: () => bar.clear(),
  }
}

/** The name of a memory in one line. */
export function nameText({ namespace, key }: MemoryName): string {
  return namespace === DEFAULT_NAMESPACE ? printable(key) : `${printable(namespace)}  ${printable(key)}`
}

export function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`
}

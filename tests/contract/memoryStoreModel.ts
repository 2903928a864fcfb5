/** The memory store as a few lines of arithmetic: what every engine is compared with. */
import type { Write, WriteOutcome } from '../../src/infrastructure/memory/port.ts'
import { compareVersions, formatVersion, type Version } from '../../src/jobs/version.ts'

interface Applied {
  version: Version
  valueJson: string | undefined
  embed: boolean
}

export function modelOf(historyVersions: number) {
  const applied = new Map<string, Applied[]>()
  const outcomes = new Map<string, WriteOutcome['outcome']>()

  const contentOf = (write: Write, before: Applied[]): Omit<Applied, 'version'> => {
    if (write.op === 'set') return { valueJson: write.valueJson, embed: write.embed === true }
    if (write.op === 'delete') return { valueJson: undefined, embed: write.embed === true }
    const { valueJson, embed } = before[1] ?? { valueJson: undefined, embed: false }
    return { valueJson, embed }
  }

  return {
    apply(write: Write): WriteOutcome {
      const id = formatVersion(write.version)
      const known = outcomes.get(id)
      if (known) return { outcome: known, repeated: true }
      const before = applied.get(write.key) ?? []
      const wins = before.every(({ version }) => compareVersions(write.version, version) > 0)
      if (wins) applied.set(write.key, [{ version: write.version, ...contentOf(write, before) }, ...before])
      const outcome = wins ? 'applied' : 'superseded'
      outcomes.set(id, outcome)
      return { outcome, repeated: false }
    },
    history: (key: string) => (applied.get(key) ?? []).slice(0, historyVersions),
    totals() {
      const all = [...outcomes.values()]
      const keys = [...applied.values()].filter(([newest]) => newest?.valueJson !== undefined).length
      const synced = all.filter((outcome) => outcome === 'applied').length
      return { keys, synced, superseded: all.length - synced, pushed: 0 }
    },
  }
}

/**
 * Which nights' work is done, across restarts: told by the snapshots themselves, which name their night and come into being
 * whole, and by a file in the data folder, for when they are gone. Where neither says anything, no daemon ran here before.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Config } from '../config.ts'
import { syncFolder } from '../infrastructure/memory/sqliteSchema.ts'
import { listSnapshots } from './folder.ts'

type NightSettings = Pick<Config, 'dataDir' | 'snapshotDir'>

function nightFile(dataDir: string): string {
  return join(dataDir, 'last-night.json')
}

/** Names of nights that snapshots were made for. @throws what the file system says */
export function nightsOfSnapshots(settings: NightSettings): string[] {
  const nights = listSnapshots(settings).map(({ head }) => head?.night)
  return nights.filter((night) => night !== undefined)
}

/** The night that was noted last; undefined where none is. @throws what the file system says */
export function notedNight(dataDir: string): string | undefined {
  try {
    const { night } = JSON.parse(readFileSync(nightFile(dataDir), 'utf8')) as { night?: unknown }
    return typeof night === 'string' ? night : undefined
  } catch (error) {
    // Not there, or damaged, which says as little.
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Durable when it returns. @throws what the file system says */
export function noteNight(dataDir: string, night: string): void {
  const path = nightFile(dataDir)
  const draft = `${path}.tmp`
  const file = openSync(draft, 'w', 0o600)
  try {
    writeSync(file, `${JSON.stringify({ night })}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(draft, path)
  syncFolder(dirname(path))
}

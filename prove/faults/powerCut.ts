/**
 * A cut of the power, as the files of the spool see it: what was not synced is not there any more.
 *
 * Of a file the content counts once it was synced; of a folder its names (made, renamed, removed) once the folder was
 * synced. Of what was not, a disk may keep any part; here the names go from the newest back, and as many as the seed
 * says, and a file without its sync is empty. Processes must be dead when it is carried out.
 */
import { linkSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A change of the folder's names. */
type NameChange =
  | { did: 'create'; name: string }
  | { did: 'rename'; name: string; to: string }
  | { did: 'remove'; name: string; as: string }

type Entry = NameChange | { did: 'sync'; name: string } | { did: 'sync folder' }

/** What the disk has not got, given everything that was done. Pure. */
export function findUnsynced(entries: readonly Entry[]): {
  /** Files as they are called now, of which no content was synced. */
  contents: string[]
  /** Changes of names since the folder was last synced, oldest first. */
  names: NameChange[]
} {
  const unsynced = new Set<string>()
  let names: NameChange[] = []
  for (const entry of entries) {
    if (entry.did === 'sync folder') names = []
    else if (entry.did === 'sync') unsynced.delete(entry.name)
    else {
      names.push(entry)
      if (entry.did === 'create') unsynced.add(entry.name)
      if (entry.did === 'rename' && unsynced.delete(entry.name)) unsynced.add(entry.to)
      if (entry.did === 'remove') unsynced.delete(entry.name)
    }
  }
  return { contents: [...unsynced], names }
}

/**
 * Takes away from `folder` what the journal says was not synced, and begins a new journal.
 * @param share of the newest unsynced changes of names that are undone, 0 to 1
 * @returns what was taken, in words
 */
export function cutPower(folder: string, journal: string, kept: string, share: number): string[] {
  const lines = readFileSync(journal, 'utf8').split('\n').slice(0, -1)
  const { contents, names } = findUnsynced(lines.map((line) => JSON.parse(line) as Entry))
  const done: string[] = []
  const ifThere = (what: string, act: () => void) => {
    try {
      act()
      done.push(what)
    } catch (error) {
      // Recorded before it was done, and never done; or done before what is undone now.
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT' && code !== 'EEXIST') throw error
    }
  }
  for (const name of contents) ifThere(`emptied ${name}`, () => truncateSync(join(folder, name)))
  for (const entry of names.slice(names.length - Math.round(names.length * share)).reverse()) {
    const path = join(folder, entry.name)
    if (entry.did === 'create') ifThere(`took ${entry.name}`, () => rmSync(path))
    else if (entry.did === 'rename')
      ifThere(`renamed back ${entry.to}`, () => renameSync(join(folder, entry.to), path))
    else ifThere(`brought back ${entry.name}`, () => linkSync(join(kept, entry.as), path))
  }
  writeFileSync(journal, '')
  return done
}

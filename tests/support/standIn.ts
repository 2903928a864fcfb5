/**
 * Stand-ins for the commands of a service manager, which cannot run inside a test: executables first on the PATH that
 * write down how they were called, and answer as a few lines of shell say.
 */
import { appendFileSync, chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { tempDir } from './tempDir.ts'

export interface StandIns {
  /** To be put first on the PATH. */
  folder: string
  /** Every call so far, as `command argument argument`. */
  calls(): string[]
  forgetCalls(): void
}

/** @param commands by name: the shell that answers, with the arguments in "$*" and a folder of its own as the working one */
export function standIns(commands: Record<string, string>): StandIns {
  const folder = tempDir()
  const record = join(folder, 'calls')
  for (const [name, answer] of Object.entries(commands)) {
    const path = join(folder, name)
    writeFileSync(path, `#!/bin/sh\ncd '${folder}'\necho "${name} $*" >> calls\n${answer}\n`)
    chmodSync(path, 0o755)
  }
  appendFileSync(record, '')
  return {
    folder,
    calls: () => (existsSync(record) ? readFileSync(record, 'utf8').split('\n').slice(0, -1) : []),
    forgetCalls: () => writeFileSync(record, ''),
  }
}

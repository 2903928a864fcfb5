/**
 * What the command prints: results on stdout, everything else on stderr, and text that a terminal may be shown.
 * A reader that went away (`memsync list | head`) ends the command quietly.
 */
import { styleText } from 'node:util'

/** What a colour stands for; without colour the words say the same. */
export type Meaning = 'good' | 'bad' | 'warning' | 'quiet' | 'heading'

export type Paint = (meaning: Meaning, text: string) => string

const STYLES = {
  good: 'green',
  bad: 'red',
  warning: 'yellow',
  quiet: 'dim',
  heading: 'bold',
} as const satisfies Record<Meaning, Parameters<typeof styleText>[0]>

/** Colours where stdout is a terminal that shows them; NO_COLOR and FORCE_COLOR are obeyed. */
export const paintStdout: Paint = (meaning, text) =>
  styleText(STYLES[meaning], text, { stream: process.stdout })

/** To be called once, before anything is printed. */
export function endQuietlyOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(0)
      throw error
    })
  }
}

/** Writes to stdout no faster than its reader takes it. */
export async function print(text: string): Promise<void> {
  if (process.stdout.write(text)) return
  await new Promise<void>((resolve) => {
    process.stdout.once('drain', resolve)
  })
}

/** One JSON document a line. */
export async function printJson(document: unknown): Promise<void> {
  await print(`${JSON.stringify(document)}\n`)
}

const LEFTOVER_MS = 200

/**
 * To be called when everything is printed: what still waits for something that hangs (a connection under way) does not
 * keep the process from ending much longer.
 */
export async function endSoon(): Promise<void> {
  await new Promise<void>((resolve) => {
    process.stdout.write('', () => resolve())
  })
  setTimeout(() => process.exit(), LEFTOVER_MS).unref()
}

/** A word to the person beside the result. */
export function notice(text: string): void {
  process.stderr.write(`memsync: ${text}\n`)
}

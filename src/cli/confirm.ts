/** Asking before something cannot be undone. */
import { createInterface } from 'node:readline/promises'

/** Yes where nobody is there to be asked: the call itself says then what is wanted. */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return true
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim())
  } finally {
    terminal.close()
  }
}

/** The doctor's findings for a person and for a program. Pure. */

import { printable } from '../printable.ts'
import type { Finding, FindingState } from './doctor/finding.ts'
import { wrap } from './layout.ts'
import type { Meaning, Paint } from './output.ts'

const STATE_WIDTH = 9
const HOP_WIDTH = 14
const MEANING: Record<FindingState, Meaning> = { ok: 'good', warning: 'warning', failure: 'bad' }

/** What `--json` prints. */
export interface DiagnosisDocument {
  ok: boolean
  failures: number
  warnings: number
  findings: Finding[]
  /** Where the bundle is; absent where none was asked for. */
  bundle?: string
}

export function diagnosisDocument(findings: Finding[], bundle: string | undefined): DiagnosisDocument {
  const count = (state: FindingState) => findings.filter((finding) => finding.state === state).length
  const failures = count('failure')
  return {
    ok: failures === 0,
    failures,
    warnings: count('warning'),
    findings,
    ...(bundle === undefined ? {} : { bundle }),
  }
}

/** One finding: its state as a word, what it says, and what mends it below. */
export function findingText(finding: Finding, columns: number, paint: Paint): string {
  const { hop, state, says, fix } = finding
  const head = `${paint(MEANING[state], state.padEnd(STATE_WIDTH))}${hop.padEnd(HOP_WIDTH)}`
  // On a narrow terminal the text goes below its head.
  const isNarrow = columns < 60
  const indent = ' '.repeat(isNarrow ? 2 : STATE_WIDTH + HOP_WIDTH)
  const width = columns - indent.length
  const said = wrap(printable(says), width)
  const lines = isNarrow
    ? [head.trimEnd(), ...said.map((line) => indent + line)]
    : indented(head, said, indent)
  // In one line, however long, so that it can be copied.
  if (fix !== null) lines.push(indent + paint('heading', `fix: ${printable(fix)}`))
  return `${lines.join('\n')}\n`
}

function indented(head: string, lines: string[], indent: string): string[] {
  return lines.map((line, at) => (at === 0 ? head : indent) + line)
}

export function summaryText({ failures, warnings, bundle }: DiagnosisDocument, paint: Paint): string {
  const counted = (count: number, word: string) => `${count} ${word}${count === 1 ? '' : 's'}`
  const parts = [
    failures > 0 ? paint('bad', counted(failures, 'failure')) : paint('good', 'no failure'),
    ...(warnings > 0 ? [paint('warning', counted(warnings, 'warning'))] : []),
  ]
  const where =
    bundle === undefined ? '' : `\nfor a bug report: ${printable(bundle)} (look into it before you send it)\n`
  return `\n${parts.join(', ')}\n${where}`
}

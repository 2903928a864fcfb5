/** `memsync doctor`: what is wrong and what mends it. Exit code 1 where something is. */
import { type GlobalFlags, settingsOfFlags } from './context.ts'
import type { Finding } from './doctor/finding.ts'
import { diagnose } from './doctor/index.ts'
import { diagnosisDocument, findingText, summaryText } from './doctorText.ts'
import { endSoon, paintStdout, print, printJson } from './output.ts'

interface DoctorFlags extends GlobalFlags {
  /** True without a file name. */
  bundle?: string | true
}

export async function doctor(flags: DoctorFlags): Promise<number> {
  const json = flags.json === true
  // Only a terminal has a width that text should keep to.
  const columns = process.stdout.isTTY ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY
  const tell = async (findings: Finding[]) => {
    if (json) return
    for (const finding of findings) await print(findingText(finding, columns, paintStdout))
  }
  const diagnosis = await diagnose(settingsOfFlags(flags), process.env, tell)
  const bundle = flags.bundle === undefined ? undefined : await writeBundle(flags.bundle, diagnosis)
  const document = diagnosisDocument(diagnosis.findings, bundle)
  await (json ? printJson(document) : print(summaryText(document, paintStdout)))
  await endSoon()
  return document.ok ? 0 : 1
}

async function writeBundle(
  target: string | true,
  diagnosis: Awaited<ReturnType<typeof diagnose>>,
): Promise<string> {
  const { writeBundleFile } = await import('./doctor/bundle.ts')
  return writeBundleFile(target === true ? undefined : target, diagnosis)
}

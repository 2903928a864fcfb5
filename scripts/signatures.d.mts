/** For the tests; the script itself runs before TypeScript is installed. */
export interface JudgedSignatures {
  /** Undefined where nobody could be asked. */
  passed: boolean | undefined
  reason?: string
}

export function judgeSignatures(ended: { code: number | null; output: string }): JudgedSignatures

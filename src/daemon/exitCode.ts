/** What the process ends with, as its supervisor understands it. */

/** A wrong setting, or wrong usage: only a person can mend it. */
const WRONG_SETTING_EXIT_CODE = 2

/**
 * systemd is told by the unit not to restart after code 2. launchd restarts after every code but 0, so under it, which
 * the installed agent says by MEMSYNC_SUPERVISOR, a wrong setting ends with 0.
 */
export function supervisedExitCode(code: number, supervisor = process.env.MEMSYNC_SUPERVISOR): number {
  return supervisor === 'launchd' && code === WRONG_SETTING_EXIT_CODE ? 0 : code
}

/**
 * The signals that end the process: the first asks for an orderly stop, a later one for a stop at once.
 *
 * One request often arrives as several signals within milliseconds: a terminal's Ctrl-C and `timeout` signal the whole
 * process group, and npm, npx and a checkout's own scripts relay what they get. So what follows the first within one
 * burst is the same request, seen again.
 *
 * running ──signal──▶ stopping ──signal after the burst──▶ stopping at once
 */
const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
const BURST_MS = 300

/**
 * Calls `stop` for the first signal and `stopNow` for the first one after the burst, each once.
 * @returns stops listening
 */
export function onStopSignals(
  stop: (signal: NodeJS.Signals) => void,
  stopNow: (signal: NodeJS.Signals) => void,
): () => void {
  let firstAt: number | undefined
  let now = false
  const onSignal = (signal: NodeJS.Signals) => {
    if (firstAt === undefined) {
      firstAt = performance.now()
      stop(signal)
    } else if (!now && performance.now() - firstAt > BURST_MS) {
      now = true
      stopNow(signal)
    }
  }
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal)
  return () => {
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal)
  }
}

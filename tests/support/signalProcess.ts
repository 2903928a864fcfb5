/** @throws where there is no such process: to `process.kill`, 0 means every process of the run, this one among them */
export function signalProcess(pid: number | undefined, signal: NodeJS.Signals): void {
  if (!pid) throw new Error(`no process to send ${signal} to`)
  process.kill(pid, signal)
}

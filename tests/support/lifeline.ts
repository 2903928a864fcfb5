import { type ChildProcess, spawn } from 'node:child_process'

/**
 * Ends a process when this one ends, in whatever way: a small shell waits on a pipe that the kernel closes with us.
 * @returns cuts the lifeline, for when the process has been ended properly
 */
export function endWithThisProcess(pid: number): () => void {
  const watcher: ChildProcess = spawn(
    '/bin/sh',
    ['-c', 'cat >/dev/null; kill -9 "$1"', 'lifeline', String(pid)],
    {
      stdio: ['pipe', 'ignore', 'ignore'],
      // Out of reach of a terminal's Ctrl-C, which would end it too early.
      detached: true,
    },
  )
  watcher.unref()
  // A pipe of a child is a socket here, though the type of `stdin` does not say so.
  const pipe = watcher.stdin as (typeof watcher)['stdin'] & { unref?(): void }
  pipe?.unref?.()
  return () => {
    // The whole group, as the shell's `cat` would outlive it.
    if (watcher.pid !== undefined && watcher.exitCode === null) process.kill(-watcher.pid, 'SIGKILL')
  }
}

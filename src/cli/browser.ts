/** Opening a page in the person's browser. */
import { spawn } from 'node:child_process'

/** The program that opens it; undefined where there is no screen to open it on. */
function browserCommand(
  platform: NodeJS.Platform,
  env: Record<string, string | undefined>,
): string | undefined {
  if (platform === 'darwin') return 'open'
  return env.DISPLAY || env.WAYLAND_DISPLAY ? 'xdg-open' : undefined
}

/** True where a program took the address; it outlives this process. */
export function openInBrowser(url: string): Promise<boolean> {
  const command = browserCommand(process.platform, process.env)
  if (command === undefined) return Promise.resolve(false)
  return new Promise((resolve) => {
    const child = spawn(command, [url], { detached: true, stdio: 'ignore' })
    child.once('error', () => resolve(false))
    child.once('spawn', () => {
      child.unref()
      resolve(true)
    })
  })
}

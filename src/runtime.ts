/**
 * The Node this program needs, made sure of before anything else is loaded: an entry awaits `ensureRuntime()` and only
 * then imports the rest dynamically. On an older Node, a checkout goes on under the Node it brings itself.
 * This file must load on Node 20: nothing but what that has, and no other import.
 */

/** Where `node:sqlite` carries no warning and type stripping is stable. */
export const LEAST_NODE = [24, 15] as const

const RELAYED_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Returns at once on a Node that is new enough. On an older one it never returns: the same command runs under the
 * checkout's own Node, with the same streams, and its exit code or signal becomes this process's; without such a Node
 * the process exits with `refusalCode` and one line that says which is needed.
 */
export function ensureRuntime(refusalCode = 2): Promise<void> | undefined {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])) return undefined
  return rerun(refusalCode)
}

async function rerun(refusalCode: number): Promise<never> {
  const { existsSync, realpathSync } = await import('node:fs')
  const { fileURLToPath } = await import('node:url')
  const ownNode = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url))
  // The second half keeps an own Node that is too old from running itself for ever.
  if (!existsSync(ownNode) || realpathSync(ownNode) === realpathSync(process.execPath)) refuse(refusalCode)

  const { spawn } = await import('node:child_process')
  const child = spawn(ownNode, [...process.execArgv, ...process.argv.slice(1)], { stdio: 'inherit' })
  for (const signal of RELAYED_SIGNALS) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => refuse(refusalCode, `${ownNode} does not start (${error.message})`))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
    // Only reached where the signal is ignored, as SIGHUP under nohup.
    process.exit(1)
  })
  return new Promise<never>(() => {})
}

function refuse(code: number, reason = `this is Node ${process.versions.node}`): never {
  process.stderr.write(`memsyncd needs Node ${LEAST_NODE.join('.')} or newer: ${reason}\n`)
  process.exit(code)
}

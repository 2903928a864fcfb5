/** Running other programs: quietly for their output, or in the foreground as if they were this process. */
import { spawn } from 'node:child_process'

const RELAYED_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']

/** Progress, apart from what a command prints for a reader. */
export function say(line) {
  process.stderr.write(`memsyncd: ${line}\n`)
}

/** Ends the process with one line that says what to do. */
export function fail(line) {
  say(line)
  process.exit(1)
}

/**
 * Runs a program to its end. `output` is both of its streams as they came, `errors` the second alone; `code` is null
 * where it could not run or was killed.
 */
export function capture(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let errors = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    child.stderr.on('data', (chunk) => {
      output += chunk
      errors += chunk
    })
    child.on('error', (error) => resolve({ code: null, output: error.message, errors: error.message }))
    child.on('close', (code) => resolve({ code, output, errors }))
  })
}

/**
 * Runs a program in the foreground on this process's own streams, and ends as it ends: with its exit code, or by its
 * signal. Signals are relayed. The program shares this process's group, so a terminal's Ctrl-C or `timeout` may reach
 * it twice; it takes signals that come in one burst for one.
 */
export function become(command, args, env = process.env) {
  const child = spawn(command, args, { stdio: 'inherit', env })
  for (const signal of RELAYED_SIGNALS) process.on(signal, () => child.kill(signal))
  child.on('error', (error) =>
    fail(`${command} cannot be run (${error.message}); delete node_modules and try again`),
  )
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
    // Only reached where the signal is ignored, as SIGHUP under nohup.
    process.exit(1)
  })
}

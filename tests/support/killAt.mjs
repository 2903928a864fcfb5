/**
 * Loaded before a program (`node --import`): ends it by SIGKILL right before its nth call that changes a file's name or
 * makes it durable, n being MEMSYNC_TEST_KILL_AT. Says each call on descriptor 2, so that a run without a kill counts them.
 */
import fs, { writeSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const killAt = Number(process.env.MEMSYNC_TEST_KILL_AT)
let calls = 0

for (const name of ['linkSync', 'renameSync', 'rmSync', 'fsyncSync', 'copyFileSync']) {
  const real = fs[name]
  fs[name] = (...args) => {
    calls++
    writeSync(2, `${calls} ${name}\n`)
    if (calls === killAt) process.kill(process.pid, 'SIGKILL')
    return real(...args)
  }
}
syncBuiltinESMExports()

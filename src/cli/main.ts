#!/usr/bin/env node
/**
 * The command `memsync`: makes sure of the Node it runs under, then loads the rest from the compile cache. A hook goes
 * its own way, as it has little time and must not fail: its exit code is 0 even on a Node that is too old.
 */
import { ensureRuntime } from '../runtime.ts'

const args = process.argv.slice(2)
const command = args.findIndex((word, at) => !word.startsWith('-') && !takesValue(args[at - 1]))
const isHook = args[command] === 'hook' && !args.includes('--help') && !args.includes('-h')

await ensureRuntime(isHook ? 0 : 2)
const { startCompileCache } = await import('./compileCache.ts')
startCompileCache()
if (isHook) {
  const { runHook } = await import('../producers/hook.ts')
  await runHook(args.toSpliced(command, 1))
}
const { main } = await import('./program.ts')
process.exitCode = await main(args)

function takesValue(option: string | undefined): boolean {
  return option === '--data-dir' || option === '--redis-url' || option === '--config'
}

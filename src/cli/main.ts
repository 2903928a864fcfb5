#!/usr/bin/env node
/** The command `memsync`: makes sure of the Node it runs under, then loads the rest from the compile cache. */
import { ensureRuntime } from '../runtime.ts'

await ensureRuntime()
const { startCompileCache } = await import('./compileCache.ts')
startCompileCache()
const { main } = await import('./program.ts')
process.exitCode = await main(process.argv.slice(2))

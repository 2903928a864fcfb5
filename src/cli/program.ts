/** The command line: what there is and how it is called. What a command does is loaded when it runs. */
import { Command, CommanderError } from 'commander'
import { type MemsyncError, toMemsyncError } from '../errors.ts'
import { DAEMON_VERSION } from '../release.ts'
import { type Action, type BareAction, describeCommands, type Run } from './commands.ts'
import { createContext, type GlobalFlags } from './context.ts'
import { badUsage, errorDocument, errorText, exitCodeOf } from './failure.ts'
import { endQuietlyOnClosedPipe, printJson } from './output.ts'

/** Runs the command line; resolves with the exit code. */
export async function main(args: string[]): Promise<number> {
  endQuietlyOnClosedPipe()
  const ends: number[] = []
  const program = describeProgram((exitCode) => ends.push(exitCode))
  try {
    await program.parseAsync(args, { from: 'user' })
    return ends.at(-1) ?? 0
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0
    const error =
      thrown instanceof CommanderError ? usageError(thrown) : toMemsyncError(thrown, 'MEMSYNC_HANDLER_FAILED')
    return reportError(error, args.includes('--json'))
  }
}

function usageError(error: CommanderError): MemsyncError {
  if (error.code === 'commander.help') return badUsage('a command is missing')
  return badUsage(error.message.replace(/^error: /, ''))
}

async function reportError(error: MemsyncError, json: boolean): Promise<number> {
  if (json) await printJson({ error: errorDocument(error) })
  else process.stderr.write(errorText(error, process.env.MEMSYNC_LOG_LEVEL === 'debug'))
  return exitCodeOf(error.code)
}

/** @param end hears the exit code of the command that ran */
function describeProgram(end: (exitCode: number) => void): Command {
  const action: Action =
    <A extends unknown[]>(load: () => Promise<Run<A>>) =>
    async (...given: unknown[]) => {
      const command = given.at(-1) as Command
      const context = createContext(command.optsWithGlobals<GlobalFlags>())
      const run = await load()
      end(await run(context, ...(given.slice(0, -1) as A)))
    }
  const bareAction: BareAction =
    (load) =>
    async (...given) => {
      const run = await load()
      end(await run((given.at(-1) as Command).optsWithGlobals<GlobalFlags>()))
    }
  const program = new Command('memsync')
    .description('Hands memories to memsyncd, reads them back, and looks after what became of them.')
    .option('--json', 'print one JSON document, or one a line where there are many')
    .option('--data-dir <dir>', 'where the store and the private Redis are (MEMSYNC_DATA_DIR)')
    .option('--redis-url <url>', 'the Redis to use (REDIS_URL)')
    .option('--config <file>', 'the settings file (MEMSYNC_CONFIG)')
    .version(DAEMON_VERSION, '--version', 'print the version')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: () => undefined })
    .exitOverride()
  describeCommands(program, action, bareAction)
  return program
}

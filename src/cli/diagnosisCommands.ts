/** The commands that say how things are: `status` and `doctor`. */
import type { Command } from 'commander'
import { type Action, type BareAction, examples } from './commands.ts'

export function describeDiagnosis(program: Command, action: Action, bareAction: BareAction): void {
  program
    .command('status')
    .summary('show what waits and what is wrong')
    .description(
      'Shows what waits, what failed, what is stored, and what is wrong. Exit code 0 whatever it shows.',
    )
    .option('--watch', 'keep showing it, with rates and the time to drain, until q or Ctrl-C')
    .option('--interval <span>', 'with --watch: how often (default: 1s)')
    .addHelpText(
      'after',
      examples(
        ['memsync status --watch', 'see it move'],
        ['memsync status --json', 'for a program'],
        ['memsync status --watch --json --interval 10s', 'one document a line, for a program'],
      ),
    )
    .action(action(async () => (await import('./status.ts')).status))
  program
    .command('doctor')
    .summary('find what is wrong, and what mends it')
    .description(
      'Looks at every hop a memory takes, from Node to the clock, with or without a daemon, and names the command that ' +
        'mends what is wrong. Changes nothing. Exit code 1 where something fails.',
    )
    .option('--bundle [file]', 'also write an archive for a bug report, without values, keys or secrets')
    .addHelpText(
      'after',
      examples(
        ['memsync doctor', 'what is wrong'],
        ['memsync doctor --bundle', 'and an archive to attach to a bug report'],
        ['memsync doctor --json', 'for a program'],
      ),
    )
    .action(bareAction(async () => (await import('./doctor.ts')).doctor))
}

/** `memsync metrics` as the command line knows it. */
import type { Command } from 'commander'
import type { Action } from './commands.ts'

const EXAMPLES = `
Examples:
  memsync metrics | grep memsync_lane_jobs            what waits in each lane
  memsync metrics | grep memsync_ > memsync.prom      for the text files of node_exporter
  memsync metrics --json                              for a program
`

export function describeMetrics(program: Command, action: Action): void {
  program
    .command('metrics')
    .summary('print the metrics for Prometheus')
    .description(
      'Prints the metrics of the daemon in the text format of Prometheus; needs no HTTP. Where no daemon runs it prints what ' +
        'the store, the spool and Redis show. Exit code 0 whatever it shows.',
    )
    .addHelpText('after', EXAMPLES)
    .action(action(async () => (await import('./metrics.ts')).metrics))
}

/** How `memsync dashboard` is called. */
import type { Command } from 'commander'
import { type Action, examples } from './commands.ts'

export function describeDashboard(program: Command, action: Action): void {
  program
    .command('dashboard')
    .summary('open the dashboard in the browser')
    .description(
      'Opens the dashboard in the browser and prints its link: what waits and since when, dead letters, memories, queues. ' +
        'Where the daemon does not serve it (MEMSYNC_DASHBOARD), this command does until Ctrl-C.',
    )
    .option('--port <n>', 'serve one on this port, also where the daemon does')
    .option('--no-open', 'only print the link')
    .addHelpText(
      'after',
      examples(
        ['memsync dashboard', 'open it'],
        ['memsync dashboard --no-open --port 8378', 'on a machine without a screen, for a tunnel'],
      ),
    )
    .action(action(async () => (await import('./dashboard.ts')).dashboard))
}

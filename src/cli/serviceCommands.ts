/** The commands `service` and `logs`, with their options and examples. */
import type { Command } from 'commander'
import { type Action, examples } from './commands.ts'

const SYSTEM = ['--system', 'the service of the system instead of the own one (systemd, with sudo)'] as const

export function describeService(program: Command, action: Action): void {
  describeLogs(program, action)
  const service = program
    .command('service')
    .summary('run the daemon as a service')
    .description(
      'Runs the daemon as a service that starts by itself: an agent of launchd on macOS, a unit of systemd on Linux.',
    )
    .addHelpText(
      'after',
      examples(
        ['memsync service install', 'from now on, and now'],
        ['memsync service status', 'does it run, and is it up to date?'],
      ),
    )
  service
    .command('install')
    .summary('install the service, or bring it up to date')
    .description(
      'Writes the unit file, makes the settings file and the data folder where they are missing, and starts the service, ' +
        'now and from now on. Run it again after an upgrade, or when the program or the data folder has moved.',
    )
    .option(...SYSTEM)
    .option('--run-as <user>', 'with --system: whose service it is (default: who called sudo)')
    .option('--print', 'only print the unit file')
    .addHelpText(
      'after',
      examples(
        ['memsync service install', 'of this user'],
        ['memsync service install --print', 'see what would be installed'],
        ['sudo memsync service install --system', 'from boot on, without a login'],
      ),
    )
    .action(action(async () => (await import('./service.ts')).install))
  service
    .command('uninstall')
    .summary('stop the service and remove it')
    .description('Stops the service and removes its unit file. The settings and the memories stay.')
    .option(...SYSTEM)
    .addHelpText('after', examples(['memsync service uninstall', 'of this user']))
    .action(action(async () => (await import('./service.ts')).uninstall))
  for (const [name, summary, description] of [
    ['start', 'start the service', 'Starts the service, and waits until it is ready.'],
    [
      'stop',
      'stop the service until the next boot or login',
      'Stops the service once what is in flight is done. It starts again at the next boot or login.',
    ],
    [
      'restart',
      'stop and start the service',
      'Stops and starts the service: after a change of the settings.',
    ],
  ] as const) {
    service
      .command(name)
      .summary(summary)
      .description(description)
      .option(...SYSTEM)
      .addHelpText('after', examples([`memsync service ${name}`, 'of this user']))
      .action(action(async () => (await import('./service.ts'))[name]))
  }
  service
    .command('status')
    .summary('show whether the service runs')
    .description(
      'Shows whether the service runs, with what, and whether it is out of date. Exit code 0 where it runs, 1 where not.',
    )
    .option(...SYSTEM)
    .addHelpText('after', examples(['memsync service status --json', 'for a program']))
    .action(action(async () => (await import('./service.ts')).status))
  service
    .command('logs')
    .summary('show what the service manager kept')
    .description(
      'Shows what the service manager kept of the output of the service (the journal of systemd), also of a start that ' +
        'failed; `memsync logs` shows the log of the daemon itself.',
    )
    .option(...SYSTEM)
    .option('-f, --follow', 'go on with what comes, until Ctrl-C')
    .option('-n, --lines <n>', 'how many of the last lines (default: 100)')
    .addHelpText('after', examples(['memsync service logs -n 20', 'why did it not start?']))
    .action(action(async () => (await import('./service.ts')).logs))
}

function describeLogs(program: Command, action: Action): void {
  program
    .command('logs')
    .summary('show the log of the daemon')
    .description(
      'Shows the log of the daemon: text on a terminal, the JSON lines themselves to a pipe or with --json. Keys stand in ' +
        'lines about single memories: dead letters, and with MEMSYNC_LOG_LEVEL=debug every write and push.',
    )
    .option('-f, --follow', 'go on with what comes, until Ctrl-C')
    .option('-n, --lines <n>', 'how many of the last lines (default: 100, with --since all)')
    .option('--level <level>', 'the least level: trace, debug, info, warn, error or fatal')
    .option('--since <when>', 'a span such as 30m or 2d, or a time such as 2026-01-31T08:00')
    .option('--key <key>', 'only lines about the memory of this key')
    .addHelpText(
      'after',
      examples(
        ['memsync logs -f', 'what happens now'],
        ['memsync logs --level warn --since 1d', 'what went wrong since yesterday'],
        ['memsync logs --since 1h | jq .msg', 'for a program'],
      ),
    )
    .action(action(async () => (await import('./logs.ts')).logs))
}

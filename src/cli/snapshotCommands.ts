/** How `memsync snapshot ...` is called. What it does is in the module its action loads. */
import type { Command } from 'commander'
import { type Action, examples } from './commands.ts'

export function describeSnapshots(program: Command, action: Action): void {
  const snapshot = program
    .command('snapshot')
    .summary('back the store up, and restore it')
    .description(
      'Copies of the store: the daemon makes one each night (MEMSYNC_SLEEP_WINDOW), and these commands any time.',
    )
  snapshot.addHelpText(
    'after',
    examples(
      ['memsync snapshot list', 'what there is'],
      ['memsync snapshot restore latest', 'after a disaster'],
    ),
  )
  snapshot
    .command('create')
    .summary('make a snapshot now')
    .description(
      'Copies the store as it is now, beside a daemon that writes, and checks, packs and keeps the copy.',
    )
    .addHelpText('after', examples(['memsync snapshot create', 'before something risky']))
    .action(action(async () => (await import('./snapshot.ts')).create))
  snapshot
    .command('list')
    .summary('list the snapshots')
    .description('Lists the snapshots, newest first: name, age, memories, size.')
    .addHelpText('after', examples(['memsync snapshot list --json', 'one JSON document a line']))
    .action(action(async () => (await import('./snapshot.ts')).list))
  snapshot
    .command('verify')
    .summary('check snapshots')
    .description(
      'Unpacks snapshots and checks all of them: checksum, every page and index. Exit code 1 where one is bad.',
    )
    .argument('[snapshots...]', 'names, paths or latest (default: all)')
    .addHelpText('after', examples(['memsync snapshot verify latest', 'the newest one']))
    .action(action(async () => (await import('./snapshot.ts')).verify))
  snapshot
    .command('restore')
    .summary('put a snapshot in the place of the store')
    .description(
      'Checks a snapshot, says what it would change, asks on a terminal, and puts it in the place of the store, which is ' +
        'kept under another name. Stop the daemon first. What differs is pushed to the remote when it runs again.',
    )
    .argument('<snapshot>', 'a name of the list, a path, or latest')
    .option('--dry-run', 'only check it and say what would change')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      examples(
        ['memsync snapshot restore latest --dry-run', 'what it would change'],
        ['memsync snapshot restore /mnt/usb/memory-20260102T020000000Z.db.zst', 'on a new machine'],
      ),
    )
    .action(action(async () => (await import('./snapshot.ts')).restore))
}

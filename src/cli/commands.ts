/** Every command with its arguments, options and examples. What it does is in the module its action loads. */
import type { Command } from 'commander'
import type { CommandContext } from './context.ts'
import { describeDashboard } from './dashboardCommand.ts'
import { describeMetrics } from './metricsCommand.ts'
import { describeService } from './serviceCommands.ts'
import { describeSnapshots } from './snapshotCommands.ts'

/** What a command does with its arguments and options; resolves with the exit code. */
export type Run<A extends unknown[]> = (context: CommandContext, ...args: A) => Promise<number>

/** Makes commander's action of a command whose module is loaded only when it runs. */
export type Action = <A extends unknown[]>(
  load: () => Promise<Run<A>>,
) => (...given: unknown[]) => Promise<void>

export function describeCommands(program: Command, action: Action): void {
  program.addHelpText(
    'after',
    examples(
      ['memsync daemon', 'run the daemon in the foreground'],
      [`memsync enqueue user-preferences '{"theme":"dark"}'`, 'hand a memory over'],
      ['memsync get user-preferences', 'read it back'],
      ['memsync status', 'see what waits, and what is wrong'],
    ) + EXIT_CODES,
  )
  describeDaemon(program, action)
  describeWrites(program, action)
  describeReads(program, action)
  describeEmbedding(program, action)
  describeStatus(program, action)
  describeService(program, action)
  describeMetrics(program, action)
  describeDashboard(program, action)
  describeRemote(program, action)
  describeDeadLetters(
    program
      .command('dlq')
      .summary('look after dead letters')
      .description('The dead letters: jobs that wait for a person.'),
    action,
  )
  describeSnapshots(program, action)
  describeAgents(program, action)
  describeSettings(program, action)
}

const EXIT_CODES = `
Exit codes: 0 done, 1 failed, 2 wrong usage or bad input.
`

const NAMESPACE = ['--namespace <name>', 'whose memory it is (default: "default")'] as const

export function examples(...lines: [command: string, meaning: string][]): string {
  const width = Math.max(...lines.map(([command]) => command.length))
  return `\nExamples:\n${lines.map(([command, meaning]) => `  ${command.padEnd(width)}  ${meaning}\n`).join('')}`
}

function describeDaemon(program: Command, action: Action): void {
  program
    .command('daemon')
    .summary('run the daemon in the foreground')
    .description('Runs the daemon in the foreground until SIGTERM or Ctrl-C.')
    .addHelpText('after', examples(['memsync daemon --data-dir ./data', 'with a data folder of its own']))
    .action(action(async () => (await import('./daemon.ts')).daemon))
}

function describeWrites(program: Command, action: Action): void {
  program
    .command('enqueue')
    .summary('hand over a memory, or many')
    .description(
      'Hands a memory over; it is accepted once it is on disk in the queue. VALUE is taken as JSON where it is JSON, ' +
        'and as text otherwise; - reads it from stdin, exactly.',
    )
    .argument('[key]', 'what the memory is called')
    .argument('[value]', 'its value, or - for stdin')
    .option('--embed', 'ask for an embedding')
    .option(...NAMESPACE)
    .option('--metadata <name=value...>', 'what goes with it to the remote; after KEY and VALUE')
    .option('--string', 'take VALUE as text, whatever it looks like')
    .option('--wait', 'wait until it is persisted')
    .option('--ndjson <file>', 'hand over many, one JSON object a line (see `memsync schema`); - for stdin')
    .option(
      '--receipts <file>',
      'with --ndjson: append line, key, namespace and job id of each accepted memory',
    )
    .addHelpText(
      'after',
      examples(
        [`memsync enqueue user-preferences '{"theme":"dark"}'`, 'a JSON value'],
        ['memsync enqueue note "buy milk" --embed --wait', 'text, and wait for it'],
        ['memsync enqueue --string zip 01234', 'text that looks like a number'],
        ['memsync enqueue report - < report.md', 'a value from stdin'],
        ['memsync enqueue temperature -- -5', 'a value that begins with a dash'],
        ['memsync enqueue --ndjson memories.ndjson', 'lines like {"key":"a","value":1}'],
      ),
    )
    .action(action(async () => (await import('./enqueue.ts')).enqueue))
  program
    .command('import')
    .summary("take the predecessor's files in")
    .description(
      "Takes the memories of the predecessor's files in, each once however often it is run: the queue file with its failed " +
        'list, the dead letters and the emergency lines. The files are only read.',
    )
    .argument('<file...>', 'mem0_queue.json, mem0_queue_dlq.json, mem0_emergency.json, or copies of them')
    .option('--dry-run', 'only say what would be taken')
    .addHelpText(
      'after',
      examples(
        ['memsync import ~/.claude/mem0_queue.json --dry-run', 'see what is there'],
        ['memsync import ~/.claude/mem0_queue.json ~/.claude/mem0_emergency.json', 'take it in'],
      ),
    )
    .action(action(async () => (await import('./import.ts')).importFiles))
  program
    .command('delete')
    .summary('delete a memory')
    .description('Deletes a memory, as a write of its own: an older write does not bring it back.')
    .argument('<key>', 'what the memory is called')
    .option(...NAMESPACE)
    .option('--wait', 'wait until it is gone')
    .addHelpText('after', examples(['memsync delete user-preferences --wait', 'and be sure of it']))
    .action(action(async () => (await import('./enqueue.ts')).deleteMemory))
  program
    .command('rollback')
    .summary('undo the last write of a memory')
    .description(
      'Restores the value before the last write, as a new write; deletes the memory where there was none.',
    )
    .argument('<key>', 'what the memory is called')
    .option(...NAMESPACE)
    .addHelpText('after', examples(['memsync rollback user-preferences', 'undo the last write']))
    .action(action(async () => (await import('./rollback.ts')).rollback))
}

function describeReads(program: Command, action: Action): void {
  program
    .command('get')
    .summary('print the value of a memory')
    .description('Prints the value of a memory: text as it is, everything else as JSON.')
    .argument('<key>', 'what the memory is called')
    .option(...NAMESPACE)
    .addHelpText(
      'after',
      examples(
        ['memsync get user-preferences', 'the value alone'],
        ['memsync get user-preferences --json', 'with its version and its times'],
      ),
    )
    .action(action(async () => (await import('./memories.ts')).get))
  program
    .command('has')
    .summary('say whether there is such a memory')
    .description('Says whether there is such a memory: true and exit code 0, or false and 1.')
    .argument('<key>', 'what the memory is called')
    .option(...NAMESPACE)
    .addHelpText('after', examples(['memsync has user-preferences && echo yes', 'in a script']))
    .action(action(async () => (await import('./memories.ts')).has))
  program
    .command('list')
    .summary('list the keys')
    .description('Lists the keys, in the order of their bytes.')
    .argument('[prefix]', 'only keys that begin with it')
    .option(...NAMESPACE)
    .option('--all-namespaces', 'every namespace, each line with its own')
    .option('--limit <n>', 'how many at most (default: 100)')
    .option('--all', 'as many as there are')
    .option('--deleted', 'deleted ones too')
    .addHelpText(
      'after',
      examples(
        ['memsync list user-', 'keys that begin with user-'],
        ['memsync list --all --json > memories.ndjson', 'everything, one JSON document a line'],
      ),
    )
    .action(action(async () => (await import('./memories.ts')).list))
  program
    .command('history')
    .summary('show the writes of a memory')
    .description('Shows the writes of a memory that are kept, newest first.')
    .argument('<key>', 'what the memory is called')
    .option(...NAMESPACE)
    .addHelpText('after', examples(['memsync history user-preferences --json', 'with whole values']))
    .action(action(async () => (await import('./memories.ts')).history))
}

function describeEmbedding(program: Command, action: Action): void {
  program
    .command('search')
    .summary('find memories by meaning')
    .description(
      'Finds the memories nearest in meaning among those that are embedded, best first: score, key, and how it begins.',
    )
    .argument('<text>', 'what to look for')
    .option('-k <n>', 'how many at most (default: 10)')
    .option('--namespace <name>', 'only memories of this namespace (default: of all)')
    .addHelpText('after', examples(['memsync search "what does she like to eat" -k 3', 'the best three']))
    .action(action(async () => (await import('./search.ts')).search))
  program
    .command('embed')
    .summary('embed memories that are there already')
    .description(
      'Marks memories that have no vector of the current model, and the daemon embeds them. Says how many tokens that ' +
        'takes and what it costs, and asks first on a terminal.',
    )
    .option('--all', 'every memory, also those that were handed over without --embed')
    .option('--stale', 'those to be embedded alone: after a change of the model')
    .option('--yes', 'do not ask')
    .addHelpText('after', examples(['memsync embed --stale', 'after a change of EMBEDDING_MODEL']))
    .action(action(async () => (await import('./embed.ts')).embed))
}

function describeStatus(program: Command, action: Action): void {
  program
    .command('status')
    .summary('show what waits and what is wrong')
    .description(
      'Shows what waits, what failed, what is stored, and what is wrong. Exit code 0 whatever it shows.',
    )
    .addHelpText('after', examples(['memsync status --json', 'for a program']))
    .action(action(async () => (await import('./status.ts')).status))
}

function describeRemote(program: Command, action: Action): void {
  program
    .command('verify')
    .summary('compare the remote with the store')
    .description(
      'Reads the remote back and compares every memory with the store. Exit code 1 where a key is missing, different, ' +
        'there more than once, or unknown here. What is still on its way is counted and is no fault.',
    )
    .option('--namespace <names...>', 'only these namespaces (default: every one of the store)')
    .addHelpText(
      'after',
      examples(
        ['memsync verify', 'what is wrong, the first 20 of each kind'],
        ['memsync verify --namespace alice --json', 'everything that is wrong, for a program'],
      ),
    )
    .action(action(async () => (await import('./verify.ts')).verify))
  program
    .command('reconcile')
    .summary('repair what verify finds')
    .description(
      'Makes the remote hold what the store holds: what is missing, different, there more than once, or deleted here is ' +
        'pushed again by the daemon. Keys that the store never had stay unless --remove-unknown is given.',
    )
    .option('--namespace <names...>', 'only these namespaces (default: every one of the store)')
    .option('--remove-unknown', 'remove keys that the store never had; asks first on a terminal')
    .option('--yes', 'do not ask')
    .option('--dry-run', 'only say what would be done')
    .addHelpText(
      'after',
      examples(
        ['memsync reconcile --dry-run', 'what would be done'],
        ['memsync reconcile && memsync verify', 'and see the rest arrive'],
      ),
    )
    .action(action(async () => (await import('./reconcile.ts')).reconcile))
  program
    .command('serve')
    .summary('be a memory server for other machines')
    .description(
      'Serves this store to daemons whose MEMSYNC_REMOTE_KIND is http, in the foreground until SIGTERM or Ctrl-C. Clients ' +
        'present MEMSYNC_SERVE_TOKEN. It speaks plain http: put a proxy with TLS in front of it, or a tunnel.',
    )
    .option('--listen <address>', 'HOST:PORT or unix:PATH (MEMSYNC_SERVE_LISTEN)')
    .addHelpText(
      'after',
      examples(
        ['MEMSYNC_SERVE_TOKEN=$(cat token) memsync serve', 'on 127.0.0.1:8765'],
        ['memsync serve --listen unix:/run/memsyncd/serve.sock', 'for a proxy on this machine'],
      ),
    )
    .action(action(async () => (await import('./serve.ts')).serve))
}

function withFilter(command: Command): Command {
  return command
    .option('--class <class>', 'permanent, transient, outage or credentials')
    .option('--older-than <span>', 'dead for at least this long: 90s, 30m, 2h, 7d')
    .option('--key-prefix <prefix>', 'whose key begins with it')
}

function describeDeadLetters(dlq: Command, action: Action): void {
  dlq.addHelpText(
    'after',
    examples(
      ['memsync dlq list', 'what there is, and why'],
      ['memsync dlq redrive --class transient', 'try those again'],
    ),
  )
  withFilter(
    dlq
      .command('list')
      .summary('list dead letters')
      .description('Lists the dead letters, oldest first: id, age, key, class, code, message.'),
  )
    .addHelpText(
      'after',
      examples(['memsync dlq list --older-than 2h --json', 'as one JSON document a line']),
    )
    .action(action(async () => (await import('./dlq.ts')).list))
  dlq
    .command('show')
    .summary('show one dead letter whole')
    .description('Shows one dead letter whole, with the data its producer sent.')
    .argument('<id>', 'as `memsync dlq list` shows it')
    .addHelpText('after', examples(['memsync dlq show 1-42-0-0', '']))
    .action(action(async () => (await import('./dlq.ts')).show))
  withFilter(
    dlq
      .command('redrive')
      .summary('put dead letters back')
      .description(
        'Puts dead letters back with fresh attempts and their first version, and tells what became of them.',
      )
      .argument('[ids...]', 'which ones; or a filter, or --all')
      .option('--all', 'every one')
      .option('--dry-run', 'only say which')
      .option('--rate <n>', 'how many a second at most (default: 50)')
      .option('--no-wait', 'do not wait for what becomes of them'),
  )
    .addHelpText(
      'after',
      examples(
        ['memsync dlq redrive 1-42-0-0', 'one'],
        ['memsync dlq redrive --key-prefix user- --dry-run', 'what would be put back'],
        ['memsync dlq redrive --all --rate 10', 'everything, slowly'],
      ),
    )
    .action(action(async () => (await import('./dlq.ts')).redrive))
  withFilter(
    dlq
      .command('drop')
      .summary('delete dead letters')
      .description('Deletes dead letters for good. Asks first on a terminal.')
      .argument('[ids...]', 'which ones; or a filter, or --all')
      .option('--all', 'every one')
      .option('--dry-run', 'only say which')
      .option('--yes', 'do not ask'),
  )
    .addHelpText('after', examples(['memsync dlq drop --older-than 30d --yes', 'those nobody missed']))
    .action(action(async () => (await import('./dlq.ts')).drop))
}

function describeAgents(program: Command, action: Action): void {
  program
    .command('mcp')
    .summary('serve an agent as an MCP server')
    .description(
      'Serves an agent over the Model Context Protocol on stdin and stdout, until stdin ends: it can save, get, search, ' +
        'list and delete memories, and look at the status.',
    )
    .addHelpText(
      'after',
      examples(['claude mcp add --scope user memsync -- memsync mcp', 'add it to Claude Code']),
    )
    .action(action(async () => (await import('./mcp.ts')).mcp))
  // Only described here: the entry runs it without this table.
  program
    .command('hook')
    .summary("store an agent's hook event")
    .description(
      'Reads the JSON of an agent hook on stdin and stores the event. Always ends with exit code 0 within 300 ms; where ' +
        'the agent shows its user a line (SessionStart), it says how the memory is.',
    )
    .option(
      '--events <names>',
      'which events are stored, with commas between; all or none (MEMSYNC_HOOK_EVENTS)',
    )
    .option('--key <template>', 'the key, with {session} {event} {time} {id} {project} (MEMSYNC_HOOK_KEY)')
    .option('--namespace <template>', 'the namespace, likewise (MEMSYNC_HOOK_NAMESPACE)')
    .option('--embed', 'ask for an embedding')
    .addHelpText(
      'after',
      examples(
        ['memsync hook', 'as the command of a hook in the settings of the agent'],
        ["memsync hook --events all --namespace '{project}'", 'everything, by project'],
      ),
    )
}

function describeSettings(program: Command, action: Action): void {
  program
    .command('config')
    .summary('show the settings in force')
    .description('Shows every setting in force and where it came from; secrets are masked.')
    .addHelpText('after', examples(['memsync config --json', 'for a program']))
    .action(action(async () => (await import('./settings.ts')).config))
  program
    .command('schema')
    .summary('print the contract as JSON Schema')
    .description('Prints what a producer in any language may enqueue, as JSON Schema.')
    .addHelpText('after', examples(['memsync schema > memsync.schema.json', 'for a validator']))
    .action(action(async () => (await import('./settings.ts')).schema))
  program
    .command('version')
    .summary('print the version')
    .description('Prints the version.')
    .addHelpText('after', examples(['memsync version --json', 'with that of Node']))
    .action(action(async () => (await import('./settings.ts')).version))
}

/** `memsync service`: memsyncd as a service of launchd or systemd. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { printable } from '../printable.ts'
import { inspectUnit, removeUnit, serviceManager, writeUnit } from '../service/index.ts'
import type { ServiceManager, ServiceState } from '../service/manager.ts'
import { type SiteOptions, SYSTEMD_UNIT, serviceKind, surveySite, unitPathOf } from '../service/site.ts'
import { renderUnit, type ServiceKind } from '../service/template.ts'
import type { CommandContext } from './context.ts'
import { linePrinter } from './logLines.ts'
import { parseLimit, showLog } from './logs.ts'
import { notice, type Paint, paintStdout, print, printJson } from './output.ts'

interface InstallOptions extends SiteOptions {
  print?: boolean
}

interface Found {
  kind: ServiceKind
  unitPath: string
  manager: ServiceManager
}

/** The service that is meant: the user's own, or the system's where only that is installed. */
function findService(options: SiteOptions): Found {
  let kind = serviceKind(options)
  if (kind === 'systemd-user' && !existsSync(unitPathOf(kind)) && existsSync(unitPathOf('systemd-system'))) {
    kind = 'systemd-system'
  }
  const unitPath = unitPathOf(kind)
  return { kind, unitPath, manager: serviceManager(kind, unitPath) }
}

export async function install(context: CommandContext, options: InstallOptions): Promise<number> {
  const site = surveySite(context, options)
  // Before anything is done: what keeps the service from starting is often among them.
  if (!context.json) for (const text of site.notices) notice(text)
  if (options.print) {
    if (context.json)
      await printJson({
        unit: site.unitPath,
        text: renderUnit(site.kind, site.values),
        notices: site.notices,
      })
    else await print(renderUnit(site.kind, site.values))
    return 0
  }
  const manager = serviceManager(site.kind, site.unitPath)
  // A manager that cannot be asked is known before anything is written.
  await manager.state()
  writeUnit(site)
  await manager.activate()
  const { unitPath, values } = site
  const boot = await manager.bootNotice()
  const state = await manager.state()
  const { node, configFile, dataDir } = values
  if (context.json) {
    await printJson({
      unit: unitPath,
      node,
      settings: configFile,
      dataDir,
      ...state,
      boot: boot ?? null,
      notices: site.notices,
    })
  } else {
    await printFacts({
      unit: unitPath,
      Node: node,
      settings: configFile,
      data: dataDir,
      service: stateText(state),
    })
    if (boot !== undefined) notice(boot)
  }
  return 0
}

export async function uninstall(context: CommandContext, options: SiteOptions): Promise<number> {
  const { unitPath, manager } = findService(options)
  const isInstalled = existsSync(unitPath)
  if (isInstalled) {
    await manager.deactivate()
    removeUnit(unitPath)
    await manager.forget()
  }
  if (context.json) await printJson({ unit: unitPath, removed: isInstalled })
  else if (isInstalled) await print(`removed ${unitPath}; the settings and the memories stay\n`)
  else await print('it is not installed\n')
  return 0
}

export async function start(context: CommandContext, options: SiteOptions): Promise<number> {
  return change(context, options, (manager) => manager.start())
}

export async function stop(context: CommandContext, options: SiteOptions): Promise<number> {
  return change(context, options, (manager) => manager.stop())
}

export async function restart(context: CommandContext, options: SiteOptions): Promise<number> {
  return change(context, options, (manager) => manager.restart())
}

async function change(
  context: CommandContext,
  options: SiteOptions,
  act: (manager: ServiceManager) => Promise<void>,
): Promise<number> {
  const { unitPath, manager } = findService(options)
  if (!existsSync(unitPath)) return notInstalled(context)
  await act(manager)
  const state = await manager.state()
  if (context.json) await printJson(state)
  else await print(`${stateText(state)}\n`)
  return 0
}

async function notInstalled(context: CommandContext): Promise<number> {
  if (context.json) await printJson({ installed: false })
  else await print('it is not installed: memsync service install\n')
  return 1
}

/** Exit code 0 where it runs, 1 where it does not. */
export async function status(context: CommandContext, options: SiteOptions): Promise<number> {
  const { kind, unitPath, manager } = findService(options)
  const installed = inspectUnit(kind, unitPath)
  if (!installed) return notInstalled(context)
  const state = await manager.state()
  const { values, drift } = installed
  const boot = await manager.bootNotice()
  if (context.json) {
    await printJson({ installed: true, unit: unitPath, ...state, drift, boot: boot ?? null, ...values })
  } else {
    await printFacts({
      service: stateText(state),
      ...(state.text === null ? {} : { says: printable(state.text) }),
      boot: state.enabled ? 'starts by itself' : 'does not start by itself: memsync service install',
      unit: unitPath,
      ...(values
        ? { Node: values.node ?? '', settings: values.configFile ?? '', data: values.dataDir ?? '' }
        : {}),
    })
    for (const text of drift) notice(`out of date: ${text}; memsync service install mends it`)
    if (boot !== undefined) notice(boot)
  }
  return state.state === 'running' ? 0 : 1
}

function stateText({ state, pid, lastExitCode }: ServiceState, paint: Paint = paintStdout): string {
  const meaning = state === 'running' ? 'good' : state === 'failed' ? 'bad' : 'warning'
  const facts = [
    pid === null ? undefined : `process ${pid}`,
    lastExitCode ? `the last one ended with exit code ${lastExitCode}` : undefined,
  ].filter((fact) => fact !== undefined)
  return paint(meaning, state) + (facts.length > 0 ? ` (${facts.join('; ')})` : '')
}

async function printFacts(facts: Record<string, string>): Promise<void> {
  const width = Math.max(...Object.keys(facts).map((name) => name.length))
  for (const [name, fact] of Object.entries(facts)) await print(`${name.padEnd(width)}  ${fact}\n`)
}

/** What the service manager kept of the service's own output: also of a start that failed before there was a log. */
export async function logs(
  context: CommandContext,
  options: SiteOptions & { follow?: boolean; lines?: string },
): Promise<number> {
  const { kind, unitPath } = findService(options)
  const limit = parseLimit(options)
  const follow = options.follow === true
  const installed = inspectUnit(kind, unitPath)
  if (!installed) return notInstalled(context)
  if (kind !== 'launchd') return showJournal(kind, limit, follow, context.json)
  const { errorLog } = installed.values ?? {}
  if (errorLog === undefined) return notInstalled(context)
  await showLog(errorLog, { filter: {}, limit, follow, raw: context.json })
  return 0
}

async function showJournal(
  kind: ServiceKind,
  limit: number | undefined,
  follow: boolean,
  raw: boolean,
): Promise<number> {
  const unit = kind === 'systemd-user' ? '--user-unit' : '--unit'
  const args = [unit, SYSTEMD_UNIT, '--output=cat', '--no-pager', ...(follow ? ['--follow'] : [])]
  if (limit !== undefined) args.push(`--lines=${limit}`)
  const isPretty = process.stdout.isTTY === true && !raw
  const toText = isPretty ? await linePrinter(process.stdout.hasColors()) : (line: string) => `${line}\n`
  const journal = spawn('journalctl', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(journal, 'close')
  // A terminal's Ctrl-C reaches it too, and its end is this one's.
  process.on('SIGINT', () => undefined)
  for await (const line of createInterface({ input: journal.stdout })) await print(toText(line))
  const [code] = await ended
  return code === 0 || code === null ? 0 : 1
}

/**
 * The settings in force: read from flags, the environment and one file, in that order of strength, and checked
 * against each other. What each one is stands in settings.ts.
 */
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { MemsyncError } from './errors.ts'
import type { RedactMode } from './jobs/redact.ts'
import {
  folder,
  isLoopback,
  type ListenAddress,
  type SleepWindow,
  type TcpAddress,
} from './settingFormats.ts'
import { SETTINGS, type Setting, type SettingName } from './settings.ts'

function defaultDataDir(): string {
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Application Support', 'memsyncd')
  return join(process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'memsyncd')
}

function defaultConfigFile(): string {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'memsyncd', 'memsync.env')
}

type RemoteKindSetting = ReturnType<(typeof SETTINGS)['MEMSYNC_REMOTE_KIND']['parse']>

/** The settings in force, converted. Durations are milliseconds, sizes bytes. */
export interface Config {
  redisUrl: string | undefined
  dataDir: string
  configFile: string
  queuePrefix: string
  concurrency: number
  maxValueBytes: number
  redact: RedactMode
  spoolMaxBytes: number
  legacyDir: string | undefined
  historyVersions: number
  drainTimeoutMs: number
  stallTimeoutMs: number
  remoteKind: RemoteKindSetting
  remoteUrl: string | undefined
  remoteKey: string | undefined
  remoteInsecure: boolean
  remoteProbePath: string | undefined
  healthIntervalMs: number
  healthFailures: number
  pushConcurrency: number
  pushTimeoutMs: number
  openaiApiKey: string | undefined
  openaiBaseUrl: string | undefined
  embeddingModel: string
  embedDimensions: number | undefined
  embedDailyTokens: number | undefined
  timeZone: string | undefined
  sleepWindow: SleepWindow | 'off'
  snapshotDir: string | undefined
  snapshotKeep: number
  snapshotKeepDays: number
  notifyCommand: string | undefined
  notifyUrl: string | undefined
  notifyAfterMs: number
  serveListen: ListenAddress
  serveToken: string | undefined
  http: ListenAddress | undefined
  dashboard: TcpAddress | undefined
  hookEvents: string[]
  hookKey: string
  hookNamespace: string
  hookTimeoutMs: number
  logLevel: string
  /** Undefined where there is to be none. */
  logFile: string | undefined
  logMaxBytes: number
  logFiles: number
  otlpEndpoint: string | undefined
  otlpHeaders: Record<string, string> | undefined
  traceRatio: number
  workerJob: string | undefined
  workerPayload: string | undefined
}

export type SettingSource = 'flag' | 'environment' | 'file' | 'default' | 'unset'

export interface LoadedConfig {
  config: Config
  /** Each setting as written and where it came from. */
  sources: Map<SettingName, { text: string | undefined; source: SettingSource }>
}

export type Texts = Record<string, string | undefined>

/** Where the settings file is, and whether somebody said so, in which case it must be there. */
export function settingsFile(flags: Texts, env: Texts): { path: string; isGiven: boolean } {
  const given = flags.MEMSYNC_CONFIG ?? (env.MEMSYNC_CONFIG || undefined)
  return { path: folder(given ?? defaultConfigFile()), isGiven: given !== undefined }
}

function readSettingsFile(path: string, required: boolean): Texts {
  let content: string
  try {
    content = readFileSync(path, 'utf8')
  } catch (cause) {
    if (!required && (cause as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw new MemsyncError('MEMSYNC_BAD_SETTING', `MEMSYNC_CONFIG: ${path} cannot be read`, { cause })
  }
  const texts = parseEnv(content)
  const unknown = Object.keys(texts).find((name) => !Object.hasOwn(SETTINGS, name))
  if (unknown !== undefined) {
    throw new MemsyncError('MEMSYNC_BAD_SETTING', `${unknown} in ${path}: there is no such setting`)
  }
  return texts
}

/** Kinds whose server takes nothing without a key; a self-hosted Mem0 can be open, and the wrapper asks for none. */
const KEYED_KINDS: readonly RemoteKindSetting[] = ['mem0-platform', 'http']

/** What the settings of the remote must be to each other. */
function checkRemote({ remoteKind, remoteUrl, remoteKey }: Config): void {
  if (remoteKind === 'none') return
  const missing = (name: 'MEMSYNC_REMOTE_URL' | 'MEMSYNC_REMOTE_KEY') => {
    const example = `${name}=${SETTINGS[name].example}`
    const problem = `${name}: missing, and MEMSYNC_REMOTE_KIND=${remoteKind} needs one; for example ${example}`
    return new MemsyncError('MEMSYNC_BAD_SETTING', problem)
  }
  if (remoteUrl === undefined && remoteKind !== 'mem0-platform') throw missing('MEMSYNC_REMOTE_URL')
  if (remoteKey === undefined && KEYED_KINDS.includes(remoteKind)) throw missing('MEMSYNC_REMOTE_KEY')
}

/** No secret goes over plain http to another machine, unless that is asked for. */
function checkPlainHttp(config: Config): void {
  if (config.remoteInsecure) return
  const { remoteKind, remoteUrl, remoteKey, openaiBaseUrl, openaiApiKey, notifyUrl } = config
  const ways = [
    ['MEMSYNC_REMOTE_URL', remoteKind === 'none' ? undefined : remoteUrl, 'MEMSYNC_REMOTE_KEY', remoteKey],
    ['OPENAI_BASE_URL', openaiBaseUrl, 'OPENAI_API_KEY', openaiApiKey],
    ['MEMSYNC_OTLP_ENDPOINT', config.otlpEndpoint, 'MEMSYNC_OTLP_HEADERS', config.otlpHeaders],
    // What stands in its path is what keeps strangers from using it.
    ['MEMSYNC_NOTIFY_URL', notifyUrl, 'the address itself', notifyUrl],
  ] as const
  for (const [name, target, secretName, secret] of ways) {
    if (target === undefined || secret === undefined) continue
    const { protocol, hostname } = new URL(target)
    if (protocol === 'https:' || isLoopback(hostname)) continue
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `${name}: plain http to ${hostname} would carry ${secretName} for anyone between to read; ` +
        'use https, or MEMSYNC_REMOTE_INSECURE=true where the link is private (a VPN, a tunnel)',
    )
  }
}

/** @throws MEMSYNC_BAD_SETTING that names the setting, what is wrong with its value, and an example */
export function parseSetting(name: SettingName, text: string, source: SettingSource): unknown {
  const setting: Setting = SETTINGS[name]
  try {
    return setting.parse(text)
  } catch (cause) {
    const shown = setting.secret ? 'its value' : JSON.stringify(text)
    const problem = cause instanceof Error ? cause.message : String(cause)
    throw new MemsyncError(
      'MEMSYNC_BAD_SETTING',
      `${name} (from ${source}): ${shown} ${problem}; for example ${name}=${setting.example}`,
    )
  }
}

/**
 * The settings in force.
 * @param flags given on the command line, by setting name
 * @throws MEMSYNC_BAD_SETTING that names the setting, what is wrong with its value, and an example
 */
export function loadConfig(flags: Texts = {}, env: Texts = process.env): LoadedConfig {
  const { path: configFile, isGiven } = settingsFile(flags, env)
  const file = readSettingsFile(configFile, isGiven)
  const sources: LoadedConfig['sources'] = new Map()

  const find = (name: SettingName): { text: string | undefined; source: SettingSource } => {
    const fallback = (SETTINGS[name] as Setting).default
    if (flags[name] !== undefined) return { text: flags[name], source: 'flag' }
    // An empty variable counts as unset, as shells and launchd have no other way to unset one.
    if (env[name]) return { text: env[name], source: 'environment' }
    if (file[name]) return { text: file[name], source: 'file' }
    return { text: fallback, source: fallback === undefined ? 'unset' : 'default' }
  }

  const read = <N extends SettingName>(name: N): ReturnType<(typeof SETTINGS)[N]['parse']> | undefined => {
    const found = find(name)
    sources.set(name, found)
    if (found.text === undefined) return undefined
    return parseSetting(name, found.text, found.source) as ReturnType<(typeof SETTINGS)[N]['parse']>
  }
  // A setting with a default is never undefined; the table above is the only place that says which has one.
  const sure = <T>(value: T | undefined): T => value as T

  const dataDir = read('MEMSYNC_DATA_DIR') ?? defaultDataDir()
  const config: Config = {
    redisUrl: read('REDIS_URL'),
    dataDir,
    configFile: read('MEMSYNC_CONFIG') ?? configFile,
    queuePrefix: sure(read('MEMSYNC_QUEUE_PREFIX')),
    concurrency: sure(read('MEMSYNC_CONCURRENCY')),
    maxValueBytes: sure(read('MEMSYNC_MAX_VALUE_BYTES')),
    redact: sure(read('MEMSYNC_REDACT')),
    spoolMaxBytes: sure(read('MEMSYNC_SPOOL_MAX_BYTES')),
    legacyDir: read('MEMSYNC_LEGACY_DIR'),
    historyVersions: sure(read('MEMSYNC_HISTORY_VERSIONS')),
    drainTimeoutMs: sure(read('MEMSYNC_DRAIN_TIMEOUT_MS')),
    stallTimeoutMs: sure(read('MEMSYNC_STALL_TIMEOUT_MS')),
    remoteKind: sure(read('MEMSYNC_REMOTE_KIND')),
    remoteUrl: read('MEMSYNC_REMOTE_URL'),
    remoteKey: read('MEMSYNC_REMOTE_KEY'),
    remoteInsecure: sure(read('MEMSYNC_REMOTE_INSECURE')),
    remoteProbePath: read('MEMSYNC_REMOTE_PROBE_PATH'),
    healthIntervalMs: sure(read('MEMSYNC_HEALTH_INTERVAL_MS')),
    healthFailures: sure(read('MEMSYNC_HEALTH_FAILURES')),
    pushConcurrency: sure(read('MEMSYNC_PUSH_CONCURRENCY')),
    pushTimeoutMs: sure(read('MEMSYNC_PUSH_TIMEOUT_MS')),
    openaiApiKey: read('OPENAI_API_KEY'),
    openaiBaseUrl: read('OPENAI_BASE_URL'),
    embeddingModel: sure(read('EMBEDDING_MODEL')),
    embedDimensions: read('MEMSYNC_EMBED_DIMENSIONS'),
    embedDailyTokens: read('MEMSYNC_EMBED_DAILY_TOKENS'),
    timeZone: read('MEMSYNC_TIME_ZONE'),
    sleepWindow: sure(read('MEMSYNC_SLEEP_WINDOW')),
    snapshotDir: read('MEMSYNC_SNAPSHOT_DIR'),
    snapshotKeep: sure(read('MEMSYNC_SNAPSHOT_KEEP')),
    snapshotKeepDays: sure(read('MEMSYNC_SNAPSHOT_KEEP_DAYS')),
    notifyCommand: read('MEMSYNC_NOTIFY_COMMAND'),
    notifyUrl: read('MEMSYNC_NOTIFY_URL'),
    notifyAfterMs: sure(read('MEMSYNC_NOTIFY_AFTER_MS')),
    serveListen: sure(read('MEMSYNC_SERVE_LISTEN')),
    serveToken: read('MEMSYNC_SERVE_TOKEN'),
    http: read('MEMSYNC_HTTP'),
    dashboard: read('MEMSYNC_DASHBOARD'),
    hookEvents: sure(read('MEMSYNC_HOOK_EVENTS')),
    hookKey: sure(read('MEMSYNC_HOOK_KEY')),
    hookNamespace: sure(read('MEMSYNC_HOOK_NAMESPACE')),
    hookTimeoutMs: sure(read('MEMSYNC_HOOK_TIMEOUT_MS')),
    logLevel: sure(read('MEMSYNC_LOG_LEVEL')),
    logFile: (read('MEMSYNC_LOG_FILE') ?? { path: join(dataDir, 'memsync.log') }).path,
    logMaxBytes: sure(read('MEMSYNC_LOG_MAX_BYTES')),
    logFiles: sure(read('MEMSYNC_LOG_FILES')),
    otlpEndpoint: read('MEMSYNC_OTLP_ENDPOINT'),
    otlpHeaders: read('MEMSYNC_OTLP_HEADERS'),
    traceRatio: sure(read('MEMSYNC_TRACE_RATIO')),
    workerJob: read('WORKER_JOB'),
    workerPayload: read('WORKER_PAYLOAD'),
  }
  checkRemote(config)
  checkPlainHttp(config)
  for (const [name, path] of [
    ['MEMSYNC_DATA_DIR', config.dataDir],
    ['MEMSYNC_CONFIG', configFile],
  ] as const) {
    const found = sources.get(name)
    if (found?.source === 'unset') sources.set(name, { text: path, source: 'default' })
  }
  return { config, sources }
}

/** What every command is given: the settings in force, and how its result is to be printed. */
import { type Config, loadConfig } from '../config.ts'
import type { SettingName } from '../settings.ts'

/** The flags that are settings too, as commander names them. */
export interface GlobalFlags {
  json?: boolean
  dataDir?: string
  redisUrl?: string
  config?: string
  /** Of `memsync serve`. */
  listen?: string
}

export interface CommandContext extends ReturnType<typeof loadConfig> {
  config: Config
  json: boolean
}

/** The settings that were given as flags. */
export function settingsOfFlags(flags: GlobalFlags): Partial<Record<SettingName, string>> {
  return {
    ...(flags.dataDir === undefined ? {} : { MEMSYNC_DATA_DIR: flags.dataDir }),
    ...(flags.redisUrl === undefined ? {} : { REDIS_URL: flags.redisUrl }),
    ...(flags.config === undefined ? {} : { MEMSYNC_CONFIG: flags.config }),
    ...(flags.listen === undefined ? {} : { MEMSYNC_SERVE_LISTEN: flags.listen }),
  }
}

/** @throws MEMSYNC_BAD_SETTING */
export function createContext(flags: GlobalFlags): CommandContext {
  const settings = settingsOfFlags(flags)
  const loaded = loadConfig(settings)
  // Modules that load the settings themselves (the default store, a queue) are to see the flags too.
  Object.assign(process.env, settings)
  return { ...loaded, json: flags.json === true }
}

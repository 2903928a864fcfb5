/** Which release this is, as package.json says. */
import { readFileSync } from 'node:fs'

export const DAEMON_VERSION: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version

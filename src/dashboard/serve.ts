/** The dashboard on a port: within the daemon, or for as long as `memsync dashboard` runs. */
import { randomBytes } from 'node:crypto'
import type { Config } from '../config.ts'
import type { Status } from '../daemon/status.ts'
import { openStore } from '../infrastructure/memory/index.ts'
import type { Store } from '../infrastructure/memory/port.ts'
import { type Logger, silentLogger } from '../logger.ts'
import { HttpServer } from '../producers/httpServer.ts'
import { openToken } from '../producers/httpToken.ts'
import type { TcpAddress } from '../settingFormats.ts'
import { DashboardAccess } from './access.ts'
import { createDashboard, type Dashboard } from './app.ts'
import type { StatusHistory } from './history.ts'
import { type DashboardSources, OpenDesk, watchStatus } from './sources.ts'

/** Between looks while no page asks, in milliseconds. */
const SAMPLE_INTERVAL_MS = 10_000

interface InDaemon {
  config: Config
  endpoint: TcpAddress
  logger: Logger
  history: StatusHistory
  store(): Store
  status(): Promise<Status>
}

/** Never rejects: where the port is taken, it is tried again. */
export async function serveInDaemon({ config, endpoint, logger, history, store, status }: InDaemon) {
  const desk = new OpenDesk(config)
  const sources: DashboardSources = {
    ...{ config, history, desk, servedBy: 'daemon' },
    status: watchStatus(status, history),
    withStore: async (work) => work(store()),
  }
  let access: DashboardAccess | undefined
  let dashboard: Dashboard | undefined
  const server = new HttpServer({
    ...{ name: 'the dashboard', endpoint, logger },
    createListener: async () => {
      // Kept, so that a browser that is in stays in when the daemon starts anew.
      access ??= new DashboardAccess(await openToken(config.dataDir))
      dashboard ??= createDashboard(sources, access, logger)
      return dashboard.listener
    },
  })
  await server.start()
  return {
    link: () =>
      access && server.address !== undefined ? linkOf(server.address, access.ticket()) : undefined,
    stop: async () => {
      await server.stop()
      dashboard?.close()
      await desk.close()
    },
  }
}

interface ByCommand {
  config: Config
  endpoint: TcpAddress
  history: StatusHistory
  status(): Promise<Status>
  /** Whether no daemon runs, so that a private Redis is started where there is none. */
  isAlone: boolean
}

/** @throws MEMSYNC_BAD_SETTING where it cannot listen */
export async function serveByCommand({ config, endpoint, history, status, isAlone }: ByCommand) {
  const desk = new OpenDesk(config)
  const sources: DashboardSources = {
    ...{ config, history, desk, servedBy: 'command' },
    status: watchStatus(status, history),
    withStore: async (work) => {
      // Anew each time: a restore may have put another file in its place.
      const store = await openStore(config, { readOnly: true })
      return work(store).finally(() => store.close())
    },
  }
  const access = new DashboardAccess(randomBytes(32).toString('base64url'))
  const dashboard = createDashboard(sources, access, silentLogger)
  const server = new HttpServer({
    ...{ name: 'the dashboard', endpoint, logger: silentLogger },
    createListener: async () => dashboard.listener,
  })
  await server.open()
  // The page says what is wrong with Redis; what can be seen without it is still worth showing.
  if (isAlone)
    await desk
      .openWithRedis()
      .then((open) => open.sweep())
      .catch(() => undefined)
  // What fails is told to the page when it asks.
  const look = () => void sources.status().catch(() => undefined)
  look()
  const sampling = setInterval(look, SAMPLE_INTERVAL_MS)
  const address = server.address ?? ''
  return {
    link: linkOf(address, access.token),
    /** For a browser's command line, which other users of the machine can read. */
    linkForOneUse: linkOf(address, access.ticket()),
    stop: async () => {
      clearInterval(sampling)
      await server.stop()
      dashboard.close()
      await desk.close()
    },
  }
}

function linkOf(address: string, presented: string): string {
  return `${address}/?token=${presented}`
}

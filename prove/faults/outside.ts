/** What stands outside the daemon: a Mem0, an OpenAI and a Redis of the tests, each behind a link, and their faults. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type FakeMem0, startFakeMem0 } from '../../tests/support/fakeMem0.ts'
import { type FakeOpenai, startFakeOpenai } from '../../tests/support/fakeOpenai.ts'
import { startTestRedis, type TestRedis } from '../../tests/support/redis.ts'
import { startTcpProxy, type TcpProxy } from '../../tests/support/tcpProxy.ts'
import type { Absence, EmbedderAnswer, LinkFault, Plan, RemoteAnswer } from './plan.ts'

const REMOTE_KEY = 'key-of-the-proof'
const PUSH_TIMEOUT_MS = 2_000
const LINK_DELAY_MS = 100

interface Links {
  remote: TcpProxy
  embedder: TcpProxy
  /** Undefined where the daemon runs a Redis of its own. */
  queue: TcpProxy | undefined
}

export class Outside {
  readonly remote: FakeMem0
  readonly redis: TestRedis | undefined
  private readonly openai: FakeOpenai
  private readonly links: Links

  static async start(plan: Plan): Promise<Outside> {
    const remote = await startFakeMem0({ apiKey: REMOTE_KEY })
    const openai = await startFakeOpenai()
    const redis = plan.redis === 'private' ? undefined : await startTestRedis()
    return new Outside(remote, openai, redis, {
      remote: await startTcpProxy({ port: Number(new URL(remote.url).port) }),
      embedder: await startTcpProxy({ port: Number(new URL(openai.baseUrl).port) }),
      queue: redis && (await startTcpProxy({ path: redis.socketPath })),
    })
  }

  private constructor(remote: FakeMem0, openai: FakeOpenai, redis: TestRedis | undefined, links: Links) {
    this.remote = remote
    this.openai = openai
    this.redis = redis
    this.links = links
  }

  /** By which the program finds all this. */
  get settings(): Record<string, string> {
    const { remote, embedder, queue } = this.links
    return {
      MEMSYNC_REMOTE_KIND: 'mem0',
      MEMSYNC_REMOTE_URL: `http://127.0.0.1:${remote.port}`,
      MEMSYNC_REMOTE_KEY: REMOTE_KEY,
      MEMSYNC_PUSH_TIMEOUT_MS: String(PUSH_TIMEOUT_MS),
      OPENAI_BASE_URL: `http://127.0.0.1:${embedder.port}/v1`,
      ...(queue ? { REDIS_URL: `redis://127.0.0.1:${queue.port}` } : {}),
    }
  }

  async heal(): Promise<void> {
    this.remote.heal()
    this.openai.heal()
    for (const link of Object.values(this.links)) {
      await link?.up()
      link?.pass()
    }
  }

  /** Remote and embedder both, until `heal`. */
  async takeAway(remote: Absence): Promise<void> {
    if (remote === 'unavailable') this.remote.inject({ kind: 'status', status: 503 })
    else await this.links.remote.down()
    await this.links.embedder.down()
  }

  async close(): Promise<void> {
    for (const link of Object.values(this.links)) await link?.close()
    await this.remote.close()
    await this.openai.close()
    await this.redis?.stop()
  }

  /** Resolves when the link works again. */
  async breakLink(which: keyof Links, how: LinkFault, forMs: number): Promise<void> {
    const link = this.links[which]
    if (!link) return
    if (how === 'cut') return link.cut()
    if (how === 'delay') link.delay(LINK_DELAY_MS)
    if (how === 'black hole') link.blackHole()
    if (how === 'refuse') await link.down()
    await sleep(forMs)
    await link.up()
    link.pass()
  }

  async answerBadly(how: RemoteAnswer, forMs: number): Promise<void> {
    const { remote } = this
    if (how === 'unavailable') remote.inject({ kind: 'status', status: 503 })
    if (how === 'busy') remote.inject({ kind: 'status', status: 429, headers: { 'retry-after': '1' } })
    if (how === 'slow') remote.inject({ kind: 'lateAnswer', delayMs: PUSH_TIMEOUT_MS / 4 })
    if (how === 'hang') remote.inject({ kind: 'hang' })
    for (const route of ['POST /memories', 'PUT /memories/:id', 'DELETE /memories/:id']) {
      if (how === 'lost answer') remote.inject({ kind: 'dropAnswer' }, { route, times: 3 })
      if (how === 'half an answer') remote.inject({ kind: 'resetMidBody' }, { route, times: 3 })
      if (how === 'failing writes') remote.inject({ kind: 'status', status: 500 }, { route, times: 4 })
    }
    await sleep(forMs)
    remote.heal()
  }

  async embedBadly(how: EmbedderAnswer, forMs: number): Promise<void> {
    const { openai } = this
    const release = how === 'slow' ? openai.hold() : undefined
    if (how === 'unavailable') openai.fail({ status: 503 }, 1_000)
    if (how === 'busy')
      openai.fail({ status: 429, code: 'rate_limit_exceeded', headers: { 'retry-after': '1' } }, 1_000)
    if (how === 'hang') openai.fail('hang', 1_000)
    if (how === 'lie') {
      for (const lie of ['short', 'duplicateIndex', 'wrongDimensions', 'html', 'cut'] as const)
        openai.fail(lie)
    }
    await sleep(forMs)
    // What was held back is answered; healing would cut it off.
    if (release) release()
    else openai.heal()
  }
}

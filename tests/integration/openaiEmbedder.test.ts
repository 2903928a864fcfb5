import { execFileSync } from 'node:child_process'
import { afterEach, describe, expect, it } from 'vitest'
import openai from '../../src/infrastructure/sdk/openai.ts'
import { createOpenaiEmbedder } from '../../src/infrastructure/sdk/openaiEmbedder.ts'
import { describeEmbedder } from '../contract/embedder.ts'
import { type FakeOpenai, fakeVector, startFakeOpenai } from '../support/fakeOpenai.ts'

describeEmbedder('the OpenAI embedder', ({ model, dimensions, timeoutMs, ...settings }) =>
  createOpenaiEmbedder({ ...settings, timeoutMs, probeTimeoutMs: timeoutMs, space: { model, dimensions } }),
)

describe('the client of the process', () => {
  const saved = { ...process.env }
  let fake: FakeOpenai | undefined

  afterEach(async () => {
    process.env = { ...saved }
    await fake?.close()
  })

  it('needs no key until it is used, and then takes what the environment says', async () => {
    delete process.env.OPENAI_API_KEY
    delete process.env.OPENAI_BASE_URL
    const request = { model: 'text-embedding-3-large', input: ['a text'] }
    await expect(openai.embeddings.create(request)).rejects.toMatchObject({
      code: 'MEMSYNC_EMBEDDER_CREDENTIALS',
      message: expect.stringContaining('OPENAI_API_KEY'),
    })
    fake = await startFakeOpenai({ apiKey: 'sk-of-the-environment', dimensions: 4 })
    process.env.OPENAI_API_KEY = 'sk-of-the-environment'
    process.env.OPENAI_BASE_URL = fake.baseUrl
    const answer = await openai.embeddings.create(request)
    expect(Float32Array.from(answer.data[0]?.embedding ?? [])).toEqual(fakeVector('a text', 4))
    fake.fail({ status: 503 }, 2)
    await expect(openai.embeddings.create(request)).rejects.toMatchObject({ status: 503 })
    expect(fake.calls).toBe(2)
  })

  it('loads nothing of the SDK before its first call', () => {
    const module = new URL('../../src/infrastructure/sdk/openaiEmbedder.ts', import.meta.url).href
    const program = `
      import { registerHooks } from 'node:module'
      const loaded = []
      registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context) } })
      const { createOpenaiEmbedder } = await import(${JSON.stringify(module)})
      createOpenaiEmbedder({ space: { model: 'm' } })
      console.log(loaded.filter((url) => url.includes('node_modules')).length, loaded.length > 3)`
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
    expect(out.trim()).toBe('0 true')
  })
})

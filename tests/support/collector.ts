/** A real OTLP/HTTP collector on a free port, which keeps the spans it is sent. */
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface CollectedSpan {
  traceId: string
  spanId: string
  /** Empty or absent on the first of a trace. */
  parentSpanId?: string
  name: string
  attributes: { key: string; value: Record<string, unknown> }[]
}

export interface Collector {
  url: string
  spans: CollectedSpan[]
  /** Everything that came, as it came. */
  text(): string
  requests: { path: string | undefined; headers: IncomingHttpHeaders }[]
  /** Answers with this status from now on. */
  answerWith(status: number): void
  close(): Promise<void>
}

interface TracesBody {
  resourceSpans: { scopeSpans: { spans: CollectedSpan[] }[] }[]
}

export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = []
  const bodies: string[] = []
  const requests: Collector['requests'] = []
  let status = 200
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8')
      requests.push({ path: incoming.url, headers: incoming.headers })
      outgoing.writeHead(status, { 'content-type': 'application/json' }).end('{}')
      if (status !== 200) return
      bodies.push(body)
      for (const { scopeSpans } of (JSON.parse(body) as TracesBody).resourceSpans) {
        for (const scope of scopeSpans) spans.push(...scope.spans)
      }
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    text: () => bodies.join('\n'),
    requests,
    answerWith: (next) => {
      status = next
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

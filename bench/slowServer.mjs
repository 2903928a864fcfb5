// A remote of the kind http that takes everything and answers each request after 20 ms, as its own process.
import { createServer } from 'node:http'

const ANSWER_MS = 20
const server = createServer((request, response) => {
  const body = request.url?.startsWith('/v1/health') ? '{"status":"ok"}' : '{"outcome":"stored"}'
  request.resume()
  request.on('end', () => {
    setTimeout(() => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body)
    }, ANSWER_MS)
  })
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))

// A remote of the kind http that takes everything, as its own process. Arguments: how long each answer takes, in
// milliseconds (20 unless given). It tells its port, and to a message that holds a number it answers once so many writes
// have come.
import { createServer } from 'node:http'

const answerMs = Number(process.argv[2] ?? 20)
let writes = 0
let awaited
const server = createServer((request, response) => {
  const body = request.url?.startsWith('/v1/health') ? '{"status":"ok"}' : '{"outcome":"stored"}'
  request.resume()
  request.on('end', () => {
    const answer = () =>
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body)
    if (answerMs > 0) setTimeout(answer, answerMs)
    else answer()
    if (request.method === 'PUT') writes++
    tell()
  })
})

function tell() {
  if (awaited === undefined || writes < awaited) return
  process.send(writes)
  awaited = undefined
  writes = 0
}

process.on('message', (count) => {
  awaited = count
  tell()
})
server.listen(0, '127.0.0.1', () => process.send(server.address().port))

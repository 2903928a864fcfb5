/** The files of the page: a fixed list, read once, each with its type and a tag that says whether it changed. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'

const FOLDER = join(import.meta.dirname, 'page')
const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

export interface Asset {
  content: Uint8Array<ArrayBuffer>
  type: string
  etag: string
}

/** By the path at which each is served; the page itself at `/`. */
export function readAssets(): ReadonlyMap<string, Asset> {
  const assets = new Map(
    readdirSync(FOLDER).map((name) => {
      const content = new Uint8Array(readFileSync(join(FOLDER, name)))
      const etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`
      const path = name === 'index.html' ? '/' : `/assets/${name}`
      return [path, { content, type: TYPES[extname(name)] ?? 'application/octet-stream', etag }]
    }),
  )
  // A browser asks for it of each page that names no icon: the one that a link leads through, and the queues.
  const icon = assets.get('/assets/icon.svg')
  if (icon) assets.set('/favicon.ico', icon)
  return assets
}

/**
 * Which path of Node, and of this program, a unit file is to name: one that an upgrade leaves in place. What a process
 * knows of itself is often a folder of one version (nvm, Homebrew's Cellar), which the next upgrade removes.
 */
import { basename, dirname, join } from 'node:path'

export interface StablePath {
  path: string
  /** False where nothing better was found than a path that an upgrade may remove. */
  isStable: boolean
}

/** What is looked at; every function returns undefined where there is nothing of that kind. */
export interface NodeSources {
  /** `process.execPath`. */
  running: string
  /** The Node that a checkout brings itself. */
  ownNode: string | undefined
  /** The PATH of whoever installs. */
  searchPath: string[]
  /** The file behind all links. */
  realPath(path: string): string | undefined
  /** Whether a program at this path is a Node that is new enough, started without a login shell. */
  isUsable(path: string): boolean
}

/** Of a version: v24.1.0, 24.1.0_1, node-v24.1.0-linux-x64, memsyncd@0.1.0; not node@24. */
const VERSION_SEGMENT = /(^|[@v_-])\d+\.\d+/

/** Places of one shell, or temporary. */
const EPHEMERAL = /\/fnm_multishells\/|^\/(private\/)?tmp\/|^\/run\/user\//

/** Whether the program was fetched to be run once (npx, pnpm dlx): its place is a cache. */
export function isRunOnce(path: string): boolean {
  return /\/(_npx|dlx(-[^/]+)?)\//.test(path)
}

function isLasting(path: string): boolean {
  return (
    path.startsWith('/') &&
    !EPHEMERAL.test(path) &&
    !path.split('/').some((part) => VERSION_SEGMENT.test(part))
  )
}

/** Where the known installers keep a link that follows their upgrades. */
function linksBeside(node: string): string[] {
  const rules: [RegExp, string[]][] = [
    [/^(.*)\/Cellar\/([^/]+)\/[^/]+\/bin\/node$/, ['$1/opt/$2/bin/node', '$1/bin/node']],
    [/^(.*)\/versions\/node\/[^/]+\/bin\/node$/, ['$1/current/bin/node']],
    [/^(.*)\/node-versions\/[^/]+\/installation\/bin\/node$/, ['$1/aliases/default/bin/node']],
    [/^(.*)\/installs\/node\/(\d+)\.[^/]+\/bin\/node$/, ['$1/installs/node/$2/bin/node']],
  ]
  return rules.flatMap(([pattern, links]) =>
    pattern.test(node) ? links.map((link) => node.replace(pattern, link)) : [],
  )
}

/**
 * A checkout's own Node; else the running one by a path without a version; else another on the PATH that is new enough;
 * else the running one as it is.
 */
export function stableNode({ running, ownNode, searchPath, realPath, isUsable }: NodeSources): StablePath {
  if (ownNode !== undefined) return { path: ownNode, isStable: true }
  if (isLasting(running)) return { path: running, isStable: true }
  const onPath = searchPath
    // A `node` in there belongs to some project.
    .filter((folder) => !folder.includes('/node_modules/'))
    .map((folder) => join(folder, 'node'))
  const candidates = [...linksBeside(running), ...onPath].filter(isLasting)
  const target = realPath(running)
  const same = candidates.find((path) => target !== undefined && realPath(path) === target)
  const path = same ?? candidates.find(isUsable)
  return path === undefined ? { path: running, isStable: false } : { path, isStable: true }
}

/**
 * The program's file by a path without a version: its own, or that of the command which was called (pnpm keeps packages
 * under their version, and links them).
 * @param entry the file, as it is
 * @param called `process.argv[1]`
 * @param place of the file in its package: dist, workers, ...
 */
export function stableProgram(
  entry: string,
  called: string,
  place: string[],
  realPath: NodeSources['realPath'],
): StablePath {
  // The command is dist/cli/main.js of the same package.
  const beside = basename(called) === 'main.js' ? join(dirname(called), '..', '..', ...place) : entry
  const path = [entry, beside].find(
    (candidate) => isLasting(candidate) && realPath(candidate) === realPath(entry),
  )
  return path === undefined ? { path: entry, isStable: false } : { path, isStable: true }
}

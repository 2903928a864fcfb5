/** Which Node and which program a unit file names: what an upgrade leaves in place, where there is such a path. */
import { describe, expect, it } from 'vitest'
import { isRunOnce, type NodeSources, stableNode, stableProgram } from '../../src/service/stablePath.ts'

/** A machine of these links, each with the file behind it. */
function machine(
  sources: Partial<NodeSources> & { running: string; links?: Record<string, string> },
): NodeSources {
  const { links = {}, ...given } = sources
  return {
    ownNode: undefined,
    searchPath: [],
    realPath: (path) => links[path] ?? (path === sources.running ? path : undefined),
    isUsable: () => false,
    ...given,
  }
}

describe('the path of Node', () => {
  const nvm = '/home/a/.nvm/versions/node/v24.15.0/bin'
  const cellar = '/opt/homebrew/Cellar/node@24/24.15.0_1/bin/node'
  const fnm = '/home/a/.local/share/fnm/node-versions/v24.15.0/installation/bin/node'
  const mise = '/home/a/.local/share/mise/installs/node/24.15.0/bin/node'

  it.each([
    {
      name: "a checkout's own before everything else",
      sources: machine({ running: '/usr/bin/node', ownNode: '/src/memsyncd/node_modules/node/bin/node' }),
      path: '/src/memsyncd/node_modules/node/bin/node',
    },
    { name: 'of apt: as it runs', sources: machine({ running: '/usr/bin/node' }), path: '/usr/bin/node' },
    {
      name: "of Homebrew: its link that follows upgrades, not the Cellar's folder",
      sources: machine({ running: cellar, links: { '/opt/homebrew/opt/node@24/bin/node': cellar } }),
      path: '/opt/homebrew/opt/node@24/bin/node',
    },
    {
      name: 'of Homebrew: a link to another version is not taken for it',
      sources: machine({
        running: cellar,
        links: { '/opt/homebrew/opt/node@24/bin/node': '/other', '/opt/homebrew/bin/node': cellar },
      }),
      path: '/opt/homebrew/bin/node',
    },
    {
      name: "of fnm: its default, not the shell's own folder, which is gone with the shell",
      sources: machine({
        running: fnm,
        searchPath: ['/run/user/1000/fnm_multishells/12_34/bin'],
        links: {
          '/run/user/1000/fnm_multishells/12_34/bin/node': fnm,
          '/home/a/.local/share/fnm/aliases/default/bin/node': fnm,
        },
      }),
      path: '/home/a/.local/share/fnm/aliases/default/bin/node',
    },
    {
      name: 'of mise: its link of the major version',
      sources: machine({
        running: mise,
        links: { '/home/a/.local/share/mise/installs/node/24/bin/node': mise },
      }),
      path: '/home/a/.local/share/mise/installs/node/24/bin/node',
    },
    {
      name: 'unpacked by hand: the link on the PATH',
      sources: machine({
        running: '/opt/node-v24.15.0-linux-x64/bin/node',
        searchPath: ['relative', '/work/app/node_modules/.bin', '/usr/local/bin'],
        links: {
          '/work/app/node_modules/.bin/node': '/opt/node-v24.15.0-linux-x64/bin/node',
          '/usr/local/bin/node': '/opt/node-v24.15.0-linux-x64/bin/node',
        },
      }),
      path: '/usr/local/bin/node',
    },
    {
      name: 'of nvm: another Node on the PATH, where that is new enough',
      sources: machine({
        running: `${nvm}/node`,
        searchPath: [nvm, '/opt/old', '/usr/bin'],
        isUsable: (path) => path === '/usr/bin/node',
      }),
      path: '/usr/bin/node',
    },
  ])('$name', ({ sources, path }) => {
    expect(stableNode(sources)).toEqual({ path, isStable: true })
  })

  it('of nvm, with no other: the one that runs, said to be one that may go', () => {
    const running = `${nvm}/node`
    expect(stableNode(machine({ running, searchPath: [nvm, '/usr/bin'] }))).toEqual({
      path: running,
      isStable: false,
    })
  })
})

describe('the path of the program', () => {
  const place = ['dist', 'workers', 'memorySync-worker.js']

  it('is its own where that has no version', () => {
    const entry = '/usr/lib/node_modules/memsyncd/dist/workers/memorySync-worker.js'
    expect(stableProgram(entry, '/usr/bin/memsync', place, (path) => path)).toEqual({
      path: entry,
      isStable: true,
    })
  })

  it('is the one beside the command that was called, where that is the same file', () => {
    const store = '/home/a/pnpm/global/5/.pnpm/memsyncd@0.1.0/node_modules/memsyncd'
    const entry = `${store}/dist/workers/memorySync-worker.js`
    const link = '/home/a/pnpm/global/5/node_modules/memsyncd'
    const realPath = (path: string) => path.replace(link, store)
    const called = `${link}/dist/cli/main.js`
    expect(stableProgram(entry, called, place, realPath)).toEqual({
      path: `${link}/dist/workers/memorySync-worker.js`,
      isStable: true,
    })
    expect(stableProgram(entry, called, place, (path) => path)).toEqual({ path: entry, isStable: false })
  })

  it('in the cache of npx or pnpm dlx is known as such', () => {
    expect(isRunOnce('/home/a/.npm/_npx/1f2e/node_modules/memsyncd/dist/cli/main.js')).toBe(true)
    expect(isRunOnce('/home/a/.cache/pnpm/dlx-77/node_modules/memsyncd/dist/cli/main.js')).toBe(true)
    expect(isRunOnce('/usr/lib/node_modules/memsyncd/dist/cli/main.js')).toBe(false)
  })
})

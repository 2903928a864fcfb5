/** One memory whole: its value, its way through the lanes, and the writes before it. */
import { get } from './api.js'
import { h } from './dom.js'
import { count, visible, visibleLines, whenOf } from './format.js'

const LANES = {
  embed: 'embedded',
  'embed-refused': 'refused by the embedder',
  push: 'pushed',
  'push-refused': 'refused by the memory server',
}

export class MemoryDetail {
  constructor() {
    this.node = h('article', { class: 'memory-detail', 'aria-label': 'Memory', tabindex: -1 })
    this.clear()
  }

  clear() {
    this.asked = undefined
    this.node.replaceChildren(h('p', { class: 'empty' }, 'Choose a memory to see it whole.'))
  }

  async load(key, namespace) {
    const asked = `${namespace}\0${key}`
    if (asked === this.asked) return
    this.asked = asked
    try {
      const memory = await get('memory', { key, namespace })
      if (this.asked !== asked) return
      this.node.replaceChildren(...this.describe(memory))
    } catch (error) {
      if (this.asked !== asked) return
      this.node.replaceChildren(
        h('a', { class: 'back', href: '#memories' }, '← Memories'),
        h('p', { 'data-tone': 'bad' }, visible(error.message)),
      )
    }
    this.node.scrollTop = 0
  }

  describe({ key, namespace, deleted, embed, metadata, versions, receipts }) {
    const [current] = versions
    const reached = (lane) => receipts.find((receipt) => receipt.lane === lane)
    const way = receipts.map(({ lane, version, atMs, remoteId }) => {
      const isNewest = version === current.version
      const text = `${LANES[lane] ?? lane} ${whenOf(atMs)}${isNewest ? '' : ', an older version'}${remoteId ? `, there as ${remoteId}` : ''}`
      return [lane.startsWith('embed') ? 'Embedding' : 'Memory server', text]
    })
    if (!reached('embed') && embed && !reached('embed-refused')) way.push(['Embedding', 'waits'])
    const facts = [
      ['Namespace', namespace],
      ['Accepted', whenOf(current.acceptedAtMs)],
      ['Persisted', whenOf(current.persistedAtMs)],
      ...way,
      ...Object.entries(metadata ?? {}).map(([name, value]) => [name, String(value)]),
    ]
    const shown = h('div', {})
    const choose = (version) => shown.replaceChildren(...shownValue(version))
    choose(current)
    return [
      h('a', { class: 'back', href: '#memories' }, '← Memories'),
      h(
        'h2',
        { class: 'memory-title' },
        h('bdi', {}, visible(key)),
        deleted ? h('span', { 'data-tone': 'warn' }, ' deleted') : null,
      ),
      shown,
      h(
        'dl',
        { class: 'facts' },
        facts.map(([name, value]) => h('div', {}, h('dt', {}, visible(name)), h('dd', {}, visible(value)))),
      ),
      h('h3', {}, versions.length === 1 ? 'One write is kept' : `The last ${count(versions.length)} writes`),
      h(
        'fieldset',
        { class: 'versions' },
        h('legend', { class: 'sr' }, 'Which write to show'),
        versions.map((version, at) =>
          h(
            'label',
            {},
            h('input', {
              type: 'radio',
              name: 'version',
              checked: at === 0,
              onchange: () => choose(version),
            }),
            h(
              'time',
              { datetime: new Date(version.persistedAtMs).toISOString() },
              whenOf(version.persistedAtMs),
            ),
            h(
              'span',
              { class: 'memory-excerpt' },
              version.deleted ? '(deleted)' : visible(version.value.text.slice(0, 200).replace(/\s+/g, ' ')),
            ),
          ),
        ),
      ),
    ]
  }
}

function shownValue({ deleted, value }) {
  if (deleted) return [h('p', { class: 'quiet' }, 'This write deleted the memory.')]
  const cut =
    value.cutFrom === null
      ? []
      : [
          h(
            'p',
            { class: 'quiet' },
            `The first part of ${count(value.cutFrom)} characters; memsync get prints all.`,
          ),
        ]
  return [h('pre', { tabindex: 0, 'aria-label': 'Value' }, visibleLines(value.text)), ...cut]
}

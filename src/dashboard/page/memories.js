/** The memories: listed by the beginning of their keys, found by words or by meaning, and one of them whole beside it. */
import { get } from './api.js'
import { debounced, h, setAttribute, setText } from './dom.js'
import { counted, visible, whenOf } from './format.js'
import { MemoryDetail } from './memory.js'

const WAYS = [
  ['prefix', 'keys', 'Key begins with'],
  ['words', 'words', 'Words in key or value'],
  ['meaning', 'meaning', 'What it is about, then Enter'],
]

export class Memories {
  constructor() {
    this.by = 'prefix'
    this.text = ''
    this.namespace = ''
    this.found = []
    this.isOpened = false
    const search = debounced(() => void this.load(), 250)
    this.input = h('input', {
      ...{ type: 'search', name: 'q', spellcheck: 'false', autocomplete: 'off' },
      oninput: ({ target }) => {
        this.text = target.value
        // Meaning costs a call to the embedding server, so it waits until it is asked for.
        if (this.by !== 'meaning') search()
      },
    })
    this.ways = WAYS.map(([way, name]) =>
      h(
        'label',
        {},
        h('input', {
          ...{ type: 'radio', name: 'by', value: way, checked: way === this.by },
          onchange: () => this.setWay(way),
        }),
        h('span', {}, name),
      ),
    )
    this.select = h('select', {
      'aria-label': 'Namespace',
      onchange: ({ target }) => {
        this.namespace = target.value
        void this.load()
      },
    })
    this.notice = h('p', { class: 'notice', role: 'status' })
    this.list = h('ol', {
      class: 'memory-list',
      'aria-label': 'Memories',
      onkeydown: (event) => this.onKey(event),
    })
    this.more = h('button', { type: 'button', hidden: true, onclick: () => void this.load(this.next) })
    this.detail = new MemoryDetail()
    const submit = (event) => {
      event.preventDefault()
      void this.load()
    }
    this.node = h(
      'section',
      { class: 'memories', 'aria-label': 'Memories' },
      h('h1', { class: 'sr' }, 'Memories'),
      h(
        'form',
        { class: 'tools', role: 'search', onsubmit: submit },
        h('fieldset', { class: 'choice' }, h('legend', {}, 'Look for'), this.ways),
        this.input,
        this.select,
      ),
      h('div', { class: 'notices' }, this.notice),
      h(
        'div',
        { class: 'split' },
        h('div', { class: 'memory-found' }, this.list, this.more),
        this.detail.node,
      ),
    )
    this.showNamespaces([])
    this.setPlaceholder()
  }

  /** @param query `key` and `namespace` of the memory to show whole */
  open(query) {
    const [key, namespace] = [query.get('key'), query.get('namespace') ?? 'default']
    this.shown = key === null ? undefined : { key, namespace }
    setAttribute(this.node, 'data-detail', key === null ? null : '')
    if (key !== null) void this.detail.load(key, namespace)
    else this.detail.clear()
    this.markShown()
    if (!this.isOpened) void this.load()
    this.isOpened = true
  }

  update({ canSearchByMeaning, status }) {
    const meaning = this.ways[2].querySelector('input')
    meaning.disabled = !canSearchByMeaning
    setAttribute(this.ways[2], 'title', canSearchByMeaning ? null : 'Nothing is embedded here.')
    if (this.isEmpty && status.store.keys > 0) void this.load()
  }

  setWay(way) {
    this.by = way
    this.setPlaceholder()
    if (way === 'meaning' && this.text !== '')
      this.tell('none', 'Enter asks the embedding server of your settings.')
    else void this.load()
  }

  setPlaceholder() {
    const [, , placeholder] = WAYS.find(([way]) => way === this.by)
    setAttribute(this.input, 'placeholder', placeholder)
    setAttribute(this.input, 'aria-label', placeholder)
  }

  /** @param after where the last page of a list ended */
  async load(after = undefined) {
    this.asking?.abort()
    const asking = new AbortController()
    this.asking = asking
    const { by, namespace } = this
    const text = this.text.trim()
    const isSearch = by !== 'prefix' && text !== ''
    try {
      const answer = isSearch
        ? await get('search', { q: text, by, namespace }, asking.signal)
        : await get('memories', { prefix: by === 'prefix' ? this.text : '', namespace, after }, asking.signal)
      this.found = after ? [...this.found, ...answer.memories] : answer.memories
      this.next = answer.next ?? undefined
      this.isEmpty = this.found.length === 0
      if (answer.namespaces) this.showNamespaces(answer.namespaces)
      this.show(isSearch)
      this.tell('none', noticeOf(answer, isSearch))
    } catch (error) {
      if (asking.signal.aborted) return
      this.tell('bad', visible(error.message))
    }
  }

  show(isSearch) {
    const items = this.found.map((memory) => {
      const { key, namespace, excerpt, persistedAtMs, score } = memory
      const query = new URLSearchParams({ namespace, key })
      return h(
        'li',
        {},
        h(
          'a',
          { href: `#memories?${query}` },
          h(
            'span',
            { class: 'memory-key' },
            namespace === 'default' ? null : h('span', { class: 'quiet' }, `${visible(namespace)} / `),
            h('bdi', {}, visible(key)),
          ),
          h('span', { class: 'memory-when' }, score === undefined ? whenOf(persistedAtMs) : score.toFixed(3)),
          h('span', { class: 'memory-excerpt' }, visible(excerpt)),
        ),
      )
    })
    if (items.length === 0) items.push(h('li', { class: 'empty' }, this.emptyText(isSearch)))
    this.list.replaceChildren(...items)
    this.more.hidden = this.next === undefined
    setText(this.more, 'Show more')
    this.markShown()
  }

  emptyText(isSearch) {
    if (isSearch || this.text !== '') return 'Nothing was found.'
    return [
      h('p', {}, 'No memories yet. Hand the first one over:'),
      h('pre', {}, 'memsync enqueue greeting "hello"'),
    ].flat()[0]
  }

  markShown() {
    for (const [at, item] of [...this.list.children].entries()) {
      const memory = this.found[at]
      const isShown =
        memory && this.shown && memory.key === this.shown.key && memory.namespace === this.shown.namespace
      const link = item.querySelector('a')
      if (link) setAttribute(link, 'aria-current', isShown ? 'true' : null)
    }
  }

  showNamespaces(names) {
    const wanted = ['', ...names]
    const had = [...this.select.options].map(({ value }) => value)
    if (wanted.length === had.length && wanted.every((name, at) => name === had[at])) return
    this.select.replaceChildren(
      ...wanted.map((name) =>
        h(
          'option',
          { value: name, selected: name === this.namespace },
          name === '' ? 'All namespaces' : visible(name),
        ),
      ),
    )
  }

  tell(tone, text) {
    setText(this.notice, text)
    setAttribute(this.notice, 'data-tone', tone)
  }

  onKey(event) {
    const move = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key]
    const next = move && event.target.closest('li')?.[move]?.querySelector('a')
    if (!next) return
    event.preventDefault()
    next.focus()
  }
}

function noticeOf({ complete = true, notEmbedded = 0 }, isSearch) {
  if (!isSearch) return ''
  if (!complete) return 'Time was up before every memory had been looked at: there may be more.'
  if (notEmbedded === 0) return ''
  return `${counted(notEmbedded, 'memory is', 'memories are')} not embedded yet, and not found by meaning.`
}

/** The dead letters: what there is by class and key, one of them whole, and redriving or dropping some or all. */
import { get, post } from './api.js'
import { confirm } from './confirm.js'
import { DeadLetterRow } from './deadLetterRow.js'
import { debounced, h, isTyping, setAttribute, setText } from './dom.js'
import { count, counted, duration, visible } from './format.js'

const CLASSES = ['permanent', 'transient', 'outage', 'credentials']
const PAGE = 100
const REDRIVES_PER_SECOND = 50
const WORDS = {
  redrive: { now: 'Redriving', done: 'put back', ask: 'Redrive' },
  drop: { now: 'Dropping', done: 'dropped', ask: 'Drop' },
}

export class DeadLetters {
  constructor() {
    this.filter = { class: '', prefix: '' }
    this.rows = new Map()
    this.selected = new Set()
    this.limit = PAGE
    this.counts = {}
    const choices = ['', ...CLASSES].map((name) => this.classChoice(name))
    const search = debounced((text) => this.setFilter({ prefix: text }), 250)
    this.prefix = h('input', {
      ...{
        type: 'search',
        placeholder: 'Key begins with',
        'aria-label': 'Key begins with',
        spellcheck: 'false',
      },
      oninput: ({ target }) => search(target.value),
    })
    this.redriveButton = h('button', {
      type: 'button',
      class: 'primary',
      onclick: () => void this.run('redrive'),
    })
    this.dropButton = h('button', { type: 'button', class: 'danger', onclick: () => void this.run('drop') })
    this.notice = h('p', { class: 'notice', role: 'status' })
    this.bar = h('progress', { max: 1, value: 0, hidden: true, 'aria-label': 'Progress' })
    this.fresh = h('button', {
      type: 'button',
      class: 'fresh',
      hidden: true,
      onclick: () => void this.load(),
    })
    this.list = h('ol', {
      class: 'dl-list',
      'aria-label': 'Dead letters',
      onkeydown: (event) => this.onKey(event),
    })
    this.more = h('button', { type: 'button', hidden: true, onclick: () => void this.loadMore() })
    this.node = h(
      'section',
      { 'aria-label': 'Dead letters' },
      h('h1', { class: 'sr' }, 'Dead letters'),
      h(
        'div',
        { class: 'tools' },
        h('fieldset', { class: 'choice' }, h('legend', {}, 'Class'), choices),
        this.prefix,
        h('span', { class: 'spring' }),
        this.redriveButton,
        this.dropButton,
      ),
      h('div', { class: 'notices' }, this.notice, this.bar, this.fresh),
      this.list,
      this.more,
      h(
        'p',
        { class: 'quiet keys' },
        'In the list: ',
        [
          ['↑ ↓', 'move'],
          ['Enter', 'open'],
          ['Space', 'select'],
          ['r', 'redrive'],
          ['d', 'drop'],
          ['/', 'filter'],
          ['Esc', 'let go'],
        ].flatMap(([key, meaning]) => [h('kbd', {}, key), ` ${meaning}  `]),
      ),
    )
    this.showButtons()
  }

  classChoice(name) {
    this.counts[name] = h('small', {})
    return h(
      'label',
      {},
      h('input', {
        ...{ type: 'radio', name: 'class', value: name, checked: name === '' },
        onchange: () => this.setFilter({ class: name }),
      }),
      h('span', {}, name === '' ? 'all' : name, ' ', this.counts[name]),
    )
  }

  open() {
    void this.load()
  }

  update({ status, run, nowMs }) {
    this.isDaemonRunning = status.daemon.running
    for (const row of this.rows.values()) row.tick(nowMs)
    const known = this.page?.total
    const isUnfiltered = this.filter.class === '' && this.filter.prefix === ''
    if (status.deadLetters === null)
      return void this.fail('Redis does not answer. The dead letters are kept there.')
    if (this.isFailed) return void this.load()
    this.followRun(run)
    if (known === undefined || this.isLoading || this.isRunning) return
    const news = status.deadLetters - known
    this.fresh.hidden = news === 0
    const changed =
      news > 0 ? `${counted(news, 'new dead letter')}: show` : 'The list has changed: show it anew'
    setText(this.fresh, changed)
    if (news !== 0 && this.rows.size === 0 && isUnfiltered) void this.load()
  }

  setFilter(change) {
    this.filter = { ...this.filter, ...change }
    this.selected.clear()
    this.limit = PAGE
    void this.load()
  }

  async loadMore() {
    this.limit += PAGE
    await this.load()
  }

  async load() {
    const asked = { ...this.filter }
    this.isLoading = true
    try {
      const entries = []
      let page
      // The server gives at most 500 at a time.
      do {
        const limit = Math.min(500, this.limit - entries.length)
        page = await get('dead-letters', { ...asked, offset: entries.length, limit })
        entries.push(...page.entries)
      } while (page.entries.length === 500 && entries.length < this.limit)
      if (asked.class !== this.filter.class || asked.prefix !== this.filter.prefix) return
      this.isFailed = false
      const total = Object.values(page.counts).reduce((sum, one) => sum + one, 0)
      this.page = { ...page, entries, total: asked.prefix === '' ? total : (this.page?.total ?? total) }
      this.show()
    } catch (error) {
      this.fail(error.message)
    } finally {
      this.isLoading = false
    }
  }

  fail(message) {
    this.isFailed = true
    this.tell('bad', visible(message))
    this.showButtons()
  }

  show() {
    const { entries, counts, matching, complete, atMs } = this.page
    if (!this.isRunning && !this.isTold)
      this.tell('none', complete ? '' : 'Only the first 5,000 were looked at; the filter narrows them.')
    const more = complete ? '' : '+'
    setText(this.counts[''], `${count(Object.values(counts).reduce((sum, one) => sum + one, 0))}${more}`)
    for (const name of CLASSES) setText(this.counts[name], `${count(counts[name])}${more}`)
    const focused = document.activeElement?.closest?.('.dl')
    const place = focused ? [...this.list.children].indexOf(focused) : -1
    const old = this.rows
    const actions = {
      select: (id, on) => this.select(id, on),
      redrive: (id) => void this.run('redrive', [id]),
      drop: (id) => void this.run('drop', [id]),
    }
    this.rows = new Map(
      entries.map((entry) => [entry.id, old.get(entry.id) ?? new DeadLetterRow(entry, actions)]),
    )
    const nodes = [...this.rows.values()].map(({ node }) => node)
    const isSame =
      nodes.length === this.list.children.length && nodes.every((node, at) => this.list.children[at] === node)
    if (!isSame) {
      const isKept = focused && nodes.includes(focused)
      const active = document.activeElement
      this.list.replaceChildren(...nodes)
      // What was removed and put back has lost its focus; what is gone leaves it to its neighbour.
      if (isKept) active.focus()
      else if (place >= 0) nodes[Math.min(place, nodes.length - 1)]?.querySelector('.dl-open').focus()
    }
    if (nodes.length === 0) this.list.replaceChildren(h('li', { class: 'empty' }, this.emptyText()))
    for (const id of this.selected) if (!this.rows.has(id)) this.selected.delete(id)
    for (const [id, row] of this.rows) {
      row.tick(atMs)
      row.setSelected(this.selected.has(id))
    }
    const left = matching - entries.length
    this.more.hidden = left <= 0
    setText(this.more, `Show ${count(Math.min(PAGE, left))} more of ${count(left)}`)
    this.fresh.hidden = true
    this.showButtons()
  }

  emptyText() {
    if (this.filter.class !== '' || this.filter.prefix !== '') return 'No dead letter passes this filter.'
    return 'No dead letters: nothing waits for a person.'
  }

  select(id, on) {
    if (on) this.selected.add(id)
    else this.selected.delete(id)
    this.rows.get(id)?.setSelected(on)
    this.showButtons()
  }

  /** How many a button would act on. */
  get chosen() {
    return this.selected.size || (this.page?.matching ?? 0)
  }

  showButtons() {
    const what = this.selected.size > 0 ? count(this.selected.size) : `all ${count(this.page?.matching ?? 0)}`
    const isOff = this.chosen === 0 || this.isRunning || this.isFailed
    for (const [button, kind] of [
      [this.redriveButton, 'redrive'],
      [this.dropButton, 'drop'],
    ]) {
      setText(
        button,
        this.chosen === 0 ? WORDS[kind].ask : `${WORDS[kind].ask} ${what}${kind === 'drop' ? '…' : ''}`,
      )
      button.disabled = Boolean(isOff)
    }
  }

  /** @param ids those, or what is selected, or all that pass the filter */
  async run(kind, ids = [...this.selected]) {
    const many = ids.length || this.chosen
    if (many === 0 || this.isRunning) return
    const { atMs } = this.page
    const filter = {
      atMs,
      ...(this.filter.class && { class: this.filter.class }),
      ...(this.filter.prefix && { keyPrefix: this.filter.prefix }),
    }
    const body = ids.length > 0 ? { ids } : { filter }
    if ((kind === 'drop' || many > 1) && !(await confirm(this.question(kind, many)))) return
    try {
      this.isRunning = true
      this.showButtons()
      this.followRun(await post(`dead-letters/${kind}`, body))
      this.selected.clear()
      document.dispatchEvent(new Event('refresh'))
    } catch (error) {
      this.isRunning = false
      this.isTold = true
      this.tell('bad', `Nothing was done: ${visible(error.message)}`)
      this.showButtons()
    }
  }

  question(kind, many) {
    const what = counted(many, 'dead letter')
    if (kind === 'drop') {
      const text =
        many === 1
          ? 'What it holds is gone then. This cannot be undone.'
          : 'What they hold is gone then. This cannot be undone.'
      return { title: `Drop ${what} for good?`, text, yes: `Drop ${count(many)}`, isDangerous: true }
    }
    const takes =
      many > REDRIVES_PER_SECOND ? ` That takes about ${duration((many / REDRIVES_PER_SECOND) * 1000)}.` : ''
    const text = `They go back with fresh attempts and their first version, at most ${REDRIVES_PER_SECOND} a second.${takes}`
    return { title: `Redrive ${what}?`, text, yes: `Redrive ${count(many)}` }
  }

  followRun(run) {
    if (!run) return
    const { kind, state, total, done, succeeded, failed, failures } = run
    const isOver = state === 'ended'
    this.bar.hidden = isOver
    this.bar.max = Math.max(1, total)
    this.bar.value = done
    if (!isOver) {
      this.isRunning = true
      this.tell('none', `${WORDS[kind].now} ${count(done)} of ${state === 'choosing' ? '…' : count(total)}`)
      clearTimeout(this.runTimer)
      this.runTimer = setTimeout(() => document.dispatchEvent(new Event('refresh')), 500)
    } else if (this.isRunning) {
      this.isRunning = false
      this.isTold = true
      const waits =
        kind === 'redrive' && this.isDaemonRunning === false
          ? ' No daemon runs, so they wait in the queue.'
          : ''
      const first = failures[0] ? ` ${count(failed)} failed, the first: ${visible(failures[0].message)}.` : ''
      const rest = total - done > 0 ? ` ${count(total - done)} left as they were.` : ''
      this.tell(
        failed + (total - done) > 0 ? 'bad' : 'good',
        `${count(succeeded)} ${WORDS[kind].done}.${first}${rest}${waits}`,
      )
      setTimeout(() => {
        this.isTold = false
      }, 8_000)
      void this.load()
    }
    this.showButtons()
  }

  tell(tone, text) {
    setText(this.notice, text)
    setAttribute(this.notice, 'data-tone', tone)
  }

  onKey(event) {
    if (event.key === '/' && !isTyping(event)) {
      event.preventDefault()
      this.prefix.focus()
      return
    }
    const row = event.target.closest('.dl')
    if (!row || isTyping(event) || event.target.matches('pre, summary, .dl-detail button')) return
    const move = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key]
    const { id } = row.dataset
    if (move !== undefined) {
      const next = move > 0 ? row.nextElementSibling : row.previousElementSibling
      next?.querySelector('.dl-open')?.focus()
    } else if (event.key === ' ' && event.target.matches('.dl-open')) {
      this.select(id, !this.selected.has(id))
    } else if (event.key === 'r') {
      void this.run('redrive', this.selected.size > 0 ? undefined : [id])
    } else if (event.key === 'd' || event.key === 'Delete') {
      void this.run('drop', this.selected.size > 0 ? undefined : [id])
    } else if (event.key === 'Escape') {
      for (const one of [...this.selected]) this.select(one, false)
    } else {
      return
    }
    event.preventDefault()
  }
}

/** How things are now, and how they came to be: one board whose rows share a time axis. */
import { StateStrip, StepChart, TimeAxis } from './charts.js'
import { h, setAttribute, setText } from './dom.js'
import { bytes, count, counted, duration, minuteOf, rate, timeOf, visible, whenOf } from './format.js'
import { oldestOf, peaks, rateNow, sampleAt, stretches, throughput } from './series.js'
import { pendingOf, TONES, verdicts, WORDS } from './verdict.js'

const RANGES = [
  ['10 min', 600_000],
  ['1 hour', 3_600_000],
  ['24 hours', 86_400_000],
]
const MIN_STEP_PX = 3
const PARTS = ['daemon', 'redis', 'store', 'remote']
const PART_NAMES = { daemon: 'Daemon', redis: 'Redis', store: 'Store', remote: 'Memory server' }
const LANES = ['sync', 'embed', 'push']
const LANE_AIMS = { sync: 'into the store', embed: 'to vectors', push: 'to the memory server' }
const EVENTS_SHOWN = 30

export class Overview {
  constructor() {
    this.rangeMs = RANGES[1][1]
    this.verdict = h('h1', { class: 'verdict' }, 'Looking…')
    this.more = h('ul', { class: 'verdict-more' })
    this.parts = Object.fromEntries(PARTS.map((name) => [name, partRow(name)]))
    this.lanes = Object.fromEntries(LANES.map((name) => [name, laneRow(name)]))
    this.dead = deadRow()
    this.axis = new TimeAxis()
    this.cursor = h('div', { class: 'cursor', hidden: true })
    this.readout = h(
      'p',
      { class: 'readout' },
      'Tap or point at the charts; the arrow keys move through them too.',
    )
    this.totals = h('dl', { class: 'facts' })
    this.changes = h('ol', { class: 'changes' })
    this.board = this.buildBoard()
    this.node = h(
      'section',
      { 'aria-label': 'Overview' },
      h('div', { class: 'verdict-box' }, this.verdict, this.more),
      this.board,
      h(
        'div',
        { class: 'columns' },
        h('section', {}, h('h2', {}, 'Changes'), this.changes),
        h('section', {}, h('h2', {}, 'Totals'), this.totals),
      ),
    )
    new ResizeObserver(() => this.draw()).observe(this.axis.node.parentElement)
  }

  buildBoard() {
    const ranges = RANGES.map(([name, ms]) =>
      h(
        'label',
        {},
        h('input', {
          ...{ type: 'radio', name: 'range', checked: ms === this.rangeMs },
          onchange: () => {
            this.rangeMs = ms
            this.isRangeChosen = true
            this.draw()
          },
        }),
        h('span', {}, name),
      ),
    )
    const rows = [
      ...PARTS.map((name) => this.parts[name]),
      ...LANES.map((name) => this.lanes[name]),
      this.dead,
    ]
    const axis = h('div', { class: 'time' }, this.axis.node)
    const board = h(
      'div',
      { class: 'board' },
      h(
        'div',
        { class: 'board-head' },
        this.readout,
        h('fieldset', { class: 'choice' }, h('legend', {}, 'Range'), ranges),
      ),
      h(
        'div',
        {
          class: 'board-rows',
          tabindex: 0,
          role: 'group',
          'aria-label': 'Charts. The arrow keys move through time.',
          onpointermove: (event) => this.pointAt(event.clientX),
          onpointerleave: () => this.point(undefined),
          onblur: () => this.point(undefined),
          onkeydown: (event) => this.step(event),
        },
        rows.map(({ node }) => node),
        h('div', { class: 'row axis-row' }, h('div', {}), axis),
        this.cursor,
      ),
    )
    return board
  }

  /** @param data `{ status, samples, events, nowMs }` */
  update(data) {
    this.data = data
    const { status, events, nowMs, samples } = data
    if (!this.isRangeChosen) this.chooseRange(samples, nowMs)
    const [worst, ...rest] = verdicts(status, nowMs)
    setText(this.verdict, worst.text)
    setAttribute(this.verdict, 'data-tone', worst.tone)
    const lines = [...(worst.hint ? [{ tone: 'none', text: worst.hint, hint: '' }] : []), ...rest].map(
      ({ tone, text, hint }) => [tone, hint ? `${text}. ${hint}` : text],
    )
    const shown = JSON.stringify(lines)
    if (this.shownLines !== shown) {
      this.shownLines = shown
      this.more.replaceChildren(...lines.map(([tone, text]) => h('li', { 'data-tone': tone }, visible(text))))
    }
    this.updateParts(status, nowMs)
    for (const name of LANES) updateLane(this.lanes[name], status.lanes[name], rateNow(samples, name))
    setText(this.dead.state, count(status.deadLetters))
    setAttribute(this.dead.state, 'data-tone', status.deadLetters > 0 ? 'warn' : 'none')
    this.updateTotals(status)
    this.updateChanges(events, nowMs)
    this.draw()
  }

  /** Nobody answers: what is shown is how things were. */
  lose(text) {
    setText(this.verdict, text)
    setAttribute(this.verdict, 'data-tone', 'bad')
    this.shownLines = undefined
    this.more.replaceChildren(
      h('li', {}, 'What is below is as it was then. It goes on by itself when there is an answer.'),
    )
  }

  /** A short past fills little of an hour. */
  chooseRange(samples, nowMs) {
    this.isRangeChosen = true
    const [[, shortestMs]] = RANGES
    if (!samples[0] || samples[0].atMs > nowMs - shortestMs) this.board.querySelector('[name=range]').click()
  }

  updateParts({ daemon, redis, store, remote, version }, nowMs) {
    const since = (iso) => (iso === null ? null : `for ${duration(nowMs - Date.parse(iso))}`)
    const facts = {
      daemon: [
        daemon.progress.state,
        TONES.daemon[daemon.progress.state],
        [since(daemon.since), daemon.pid === null ? null : `process ${daemon.pid}`, version],
      ],
      redis: [redis.state, TONES.redis[redis.state], [since(redis.since), redis.reason, redis.endpoint]],
      store: [
        store.state,
        TONES.store[store.state],
        [counted(store.keys, 'memory', 'memories'), bytes(store.bytes), store.reason],
      ],
      remote: [
        WORDS.remote[remote.state],
        TONES.remote[remote.state],
        [
          since(remote.since),
          remote.latencyMs === null ? null : `answers in ${Math.round(remote.latencyMs)} ms`,
          remote.reason,
          remote.endpoint,
        ],
      ],
    }
    for (const name of PARTS) {
      const [state, tone, about] = facts[name]
      setText(this.parts[name].state, state)
      setAttribute(this.parts[name].state, 'data-tone', tone)
      setText(this.parts[name].about, visible(about.filter((fact) => fact !== null).join(' · ')))
    }
  }

  updateTotals({ totals, spool, embedding }) {
    const cost = embedding.estimatedCost === null ? '' : `, about $${embedding.estimatedCost.toFixed(2)}`
    const facts = [
      ['Persisted', count(totals.synced)],
      ['Superseded by a newer write', count(totals.superseded)],
      ['Embedded', count(totals.embedded)],
      ['Pushed', count(totals.pushed)],
      ['Accepted by this Redis', count(totals.queued)],
      [
        'In the spool',
        `${count(spool.records)}${spool.oldestMs === null ? '' : `, for ${duration(spool.oldestMs)}`}`,
      ],
      ['Embedding', `${count(embedding.tokens)} tokens in ${counted(embedding.calls, 'call')}${cost}`],
    ]
    if (this.totals.children.length === 0) {
      this.totals.append(...facts.map(([name]) => h('div', {}, h('dt', {}, name), h('dd', {}))))
    }
    for (const [at, [, value]] of facts.entries()) setText(this.totals.children[at].lastChild, value)
  }

  updateChanges(events, nowMs) {
    const shown = `${events.length} ${events.at(-1)?.atMs} ${new Date(nowMs).getDate()}`
    if (this.shownEvents === shown) return
    this.shownEvents = shown
    const lines = events.slice(-EVENTS_SHOWN).reverse()
    this.changes.replaceChildren(
      ...lines.map(({ atMs, what, from, to, reason }) =>
        h(
          'li',
          {},
          h('time', { datetime: new Date(atMs).toISOString() }, whenOf(atMs, nowMs)),
          h('span', {}, PART_NAMES[what] ?? `Lane ${what}`),
          h('span', { 'data-tone': (TONES[what] ?? TONES.gate)[to] ?? 'good' }, `${from} → ${to}`),
          reason ? h('span', { class: 'quiet' }, visible(reason)) : null,
        ),
      ),
      ...(lines.length === 0
        ? [h('li', { class: 'quiet' }, 'Nothing changed its state since the watch began.')]
        : []),
    )
  }

  draw() {
    if (!this.data) return
    const width = Math.floor(this.axis.node.parentElement.clientWidth)
    if (width === 0) return
    const { samples, nowMs } = this.data
    const range = { fromMs: nowMs - this.rangeMs, toMs: nowMs, width }
    this.range = { ...range, stepMs: (this.rangeMs / width) * MIN_STEP_PX }
    this.axis.draw(range)
    for (const name of PARTS) {
      const about = { toneOf: (state) => TONES[name][state], label: PART_NAMES[name] }
      this.parts[name].strip.draw(
        stretches(samples, (sample) => sample[name], range),
        range,
        about,
      )
    }
    for (const name of LANES) {
      const { done, oldest } = this.lanes[name]
      const speed = { format: rate, label: `${name}: memories a second`, leastMax: 1 }
      done.draw(throughput(samples, name, this.range), range, speed)
      const waits = { format: duration, label: `${name}: age of the oldest waiting`, leastMax: 10_000 }
      oldest.draw(peaks(samples, oldestOf(name), this.range), range, waits)
    }
    const dead = { format: count, label: 'dead letters', leastMax: 1 }
    this.dead.chart.draw(
      peaks(samples, ({ deadLetters }) => deadLetters, this.range),
      range,
      dead,
    )
    this.drawUnwatched(samples[0]?.atMs ?? nowMs, range)
    this.point(this.pointedMs)
  }

  /** Nobody looked before the first sample, which is not the same as that nothing was. */
  drawUnwatched(firstMs, { fromMs, width }) {
    const part = Math.min(1, Math.max(0, (firstMs - fromMs) / this.rangeMs))
    this.board.style.setProperty('--unwatched', `${Math.round(part * width)}px`)
  }

  pointAt(clientX) {
    if (!this.range) return
    const { left } = this.axis.node.parentElement.getBoundingClientRect()
    const part = (clientX - left) / this.range.width
    this.point(part < 0 || part > 1 ? undefined : this.range.fromMs + part * this.rangeMs)
  }

  step(event) {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (direction === undefined || !this.range) return
    event.preventDefault()
    const atMs = (this.pointedMs ?? this.range.toMs) + (direction * this.rangeMs) / 120
    this.point(Math.max(this.range.fromMs, Math.min(this.range.toMs, atMs)))
    setAttribute(this.readout, 'role', 'status')
  }

  /** Tells how things were at this moment. */
  point(atMs) {
    this.pointedMs = atMs
    const sample = atMs === undefined ? undefined : sampleAt(this.data?.samples ?? [], atMs)
    this.cursor.hidden = !sample
    if (!sample) {
      setText(this.readout, 'Tap or point at the charts; the arrow keys move through them too.')
      return
    }
    const { fromMs, width } = this.range
    const left = this.axis.node.parentElement.offsetLeft + ((atMs - fromMs) / this.rangeMs) * width
    this.cursor.style.transform = `translateX(${Math.round(left)}px)`
    const states = PARTS.filter(
      (name) => TONES[name][sample[name]] !== 'good' && sample[name] !== 'none',
    ).map((name) => `${PART_NAMES[name]} ${sample[name]}`)
    const lanes = LANES.filter((name) => sample.lanes[name].pending > 0).map(
      (name) =>
        `${name}: ${count(sample.lanes[name].pending)} wait, oldest ${duration(sample.lanes[name].oldestMs)}`,
    )
    const about = [
      ...states,
      ...lanes,
      ...(sample.deadLetters > 0 ? [`${count(sample.deadLetters)} dead`] : []),
    ]
    const time = this.rangeMs > 3_600_000 ? minuteOf(sample.atMs) : timeOf(sample.atMs)
    setText(this.readout, `${time}  ${about.length === 0 ? 'all well, nothing waits' : about.join(' · ')}`)
  }
}

function partRow(name) {
  const state = h('span', { class: 'state' }, '–')
  const about = h('span', { class: 'about' })
  const strip = new StateStrip()
  const head = h('div', { class: 'row-head part' }, h('h3', {}, PART_NAMES[name]), state, about)
  return {
    node: h('div', { class: 'row' }, head, h('div', { class: 'time' }, strip.node)),
    state,
    about,
    strip,
  }
}

const LANE_FIGURES = ['waiting', 'active', 'delayed', 'oldest', 'now']

function laneRow(name) {
  const gate = h('span', { class: 'state' }, '–')
  const figures = Object.fromEntries(LANE_FIGURES.map((figure) => [figure, h('dd', {}, '–')]))
  const done = new StepChart({ height: 46, tone: 'done' })
  const oldest = new StepChart({ height: 34, tone: 'oldest' })
  const node = h(
    'div',
    { class: 'row lane' },
    h(
      'div',
      { class: 'row-head' },
      h('h3', {}, `Lane ${name}`, h('span', { class: 'quiet' }, ` ${LANE_AIMS[name]}`)),
      gate,
      h(
        'dl',
        { class: 'figures' },
        LANE_FIGURES.map((figure) => h('div', {}, h('dt', {}, figure), figures[figure])),
      ),
    ),
    h(
      'div',
      { class: 'time' },
      h('div', { class: 'captioned' }, h('span', { class: 'caption' }, 'throughput'), done.node),
      h('div', { class: 'captioned' }, h('span', { class: 'caption' }, 'oldest age'), oldest.node),
    ),
  )
  return { node, gate, figures, done, oldest }
}

function updateLane({ node, gate, figures }, lane, perSecond) {
  setAttribute(node, 'data-off', lane.gate === 'off' ? '' : null)
  setText(gate, lane.gate === 'unknown' ? 'gate unknown' : lane.gate === 'off' ? 'off' : `gate ${lane.gate}`)
  setAttribute(gate, 'data-tone', TONES.gate[lane.gate])
  setText(figures.waiting, count(lane.waiting))
  setText(figures.active, count(lane.active))
  setText(figures.delayed, count(lane.delayed))
  const none = pendingOf(lane) === null ? '?' : '–'
  setText(figures.oldest, lane.oldestWaitingMs === null ? none : duration(lane.oldestWaitingMs))
  setText(figures.now, perSecond === null ? '–' : rate(perSecond))
}

function deadRow() {
  const state = h('span', { class: 'state' }, '–')
  const chart = new StepChart({ height: 34, tone: 'dead' })
  const head = h(
    'div',
    { class: 'row-head part' },
    h('h3', {}, h('a', { href: '#dead-letters' }, 'Dead letters')),
    state,
  )
  const node = h('div', { class: 'row' }, head, h('div', { class: 'time' }, chart.node))
  return { node, state, chart }
}

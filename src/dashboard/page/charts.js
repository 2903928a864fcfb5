/** Small charts on one time axis, drawn as SVG in the colours of the style sheet. */
import { setAttribute, setText, svg } from './dom.js'
import { minuteOf } from './format.js'

/** A chart of steps from the floor up. `label` says what it shows to who does not see it. */
export class StepChart {
  constructor({ height, tone }) {
    this.height = height
    this.fill = svg('path', { class: 'area' })
    this.edge = svg('path', { class: 'edge' })
    this.floor = svg('line', { class: 'floor', x1: 0, y1: height - 0.5, y2: height - 0.5 })
    this.peak = svg('text', { class: 'peak', y: 11, x: 4 })
    this.node = svg(
      'svg',
      { class: `chart ${tone}`, role: 'img', height },
      this.floor,
      this.fill,
      this.edge,
      this.peak,
    )
  }

  /** @param leastMax the value that at least reaches the top, so that a trifle does not look like a peak */
  draw(steps, { fromMs, toMs, width }, { format, label, leastMax }) {
    const most = steps.reduce((max, step) => Math.max(max, step?.value ?? 0), 0)
    const top = Math.max(most, leastMax)
    const x = (ms) => Math.round(Math.max(0, Math.min(1, (ms - fromMs) / (toMs - fromMs))) * width * 10) / 10
    const y = (value) => Math.round((this.height - 1 - (value / top) * (this.height - 15)) * 10) / 10
    let edge = ''
    let fill = ''
    for (const run of runsOf(steps)) {
      const line = run
        .map((step) => `${x(step.fromMs)},${y(step.value)}L${x(step.toMs)},${y(step.value)}`)
        .join('L')
      edge += `M${line}`
      fill += `M${x(run[0].fromMs)},${this.height - 1}L${line}L${x(run.at(-1).toMs)},${this.height - 1}Z`
    }
    setAttribute(this.edge, 'd', edge)
    setAttribute(this.fill, 'd', fill)
    setAttribute(this.floor, 'x2', width)
    setAttribute(this.node, 'width', width)
    const shownPeak = format(most)
    setText(this.peak, /^0( |$|\/)/.test(shownPeak) ? '' : `peak ${shownPeak}`)
    setAttribute(this.node, 'aria-label', `${label}, peak ${shownPeak}`)
  }
}

function runsOf(steps) {
  const runs = [[]]
  for (const step of steps) {
    if (step) runs.at(-1).push(step)
    else if (runs.at(-1).length > 0) runs.push([])
  }
  return runs.filter((run) => run.length > 0)
}

const STRIP_HEIGHT = 18
/** Worse is taller as well, for who sees no colours. */
const TONE_HEIGHTS = { good: 4, none: 2, warn: 9, bad: 16 }

/** A strip of stretches, each of one state. */
export class StateStrip {
  constructor() {
    this.node = svg('svg', { class: 'strip', role: 'img', height: STRIP_HEIGHT })
  }

  draw(stretches, { fromMs, toMs, width }, { toneOf, label }) {
    const x = (ms) => ((ms - fromMs) / (toMs - fromMs)) * width
    setAttribute(this.node, 'width', width)
    const bars = stretches.map(({ fromMs: from, toMs: to, state }) => {
      const tone = toneOf(state)
      const height = TONE_HEIGHTS[tone]
      const size = { x: x(from).toFixed(1), width: Math.max(1, x(to) - x(from)).toFixed(1), height }
      return svg('rect', { class: tone, ...size, y: (STRIP_HEIGHT - height) / 2 })
    })
    this.node.replaceChildren(...bars)
    const bad = stretches.filter(({ state }) => toneOf(state) === 'bad').length
    setAttribute(this.node, 'aria-label', `${label}: ${bad === 0 ? 'no trouble' : `${bad} times in trouble`}`)
  }
}

const AXIS_STEPS_MS = [
  60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000,
]

export class TimeAxis {
  constructor() {
    this.node = svg('svg', { class: 'axis', height: 16, 'aria-hidden': 'true' })
  }

  draw({ fromMs, toMs, width }) {
    const most = Math.max(2, Math.floor(width / 70))
    const stepMs = AXIS_STEPS_MS.find((step) => (toMs - fromMs) / step <= most) ?? AXIS_STEPS_MS.at(-1)
    const offsetMs = new Date(toMs).getTimezoneOffset() * 60_000
    const labels = []
    for (let at = Math.ceil((fromMs - offsetMs) / stepMs) * stepMs + offsetMs; at <= toMs; at += stepMs) {
      const x = ((at - fromMs) / (toMs - fromMs)) * width
      labels.push(svg('line', { x1: x, x2: x, y1: 0, y2: 4 }))
      if (x > 16 && x < width - 16) labels.push(svg('text', { x, y: 14 }, minuteOf(at)))
    }
    setAttribute(this.node, 'width', width)
    this.node.replaceChildren(...labels)
  }
}

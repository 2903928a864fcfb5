/** One dead letter in the list: a line, and beneath it all there is to know once it is opened. */
import { get } from './api.js'
import { h, setAttribute, setText } from './dom.js'
import { age, count, duration, visible, visibleLines, whenOf } from './format.js'

export class DeadLetterRow {
  /** @param actions `{ select(id, on), redrive(id), drop(id) }` */
  constructor(entry, actions) {
    this.entry = entry
    this.actions = actions
    this.age = h('span', { class: 'dl-age' })
    this.box = h('input', {
      type: 'checkbox',
      'aria-label': `Select ${entry.key ?? entry.id}`,
      onchange: ({ target }) => actions.select(entry.id, target.checked),
    })
    this.button = h(
      'button',
      { class: 'dl-open', type: 'button', 'aria-expanded': 'false', onclick: () => void this.toggle() },
      entry.key === null ? h('em', {}, 'no key') : h('bdi', {}, visible(entry.key)),
    )
    this.node = h(
      'li',
      { class: 'dl', 'data-id': entry.id },
      h(
        'div',
        { class: 'dl-line' },
        h('label', { class: 'dl-box' }, this.box),
        this.button,
        h(
          'span',
          { class: 'dl-why' },
          h('code', {}, entry.code.replace(/^MEMSYNC_/, '')),
          ` ${visible(entry.message)}`,
        ),
        h('span', { class: 'dl-class' }, entry.class),
        h('span', { class: 'dl-lane' }, entry.lane),
        this.age,
      ),
    )
  }

  tick(nowMs) {
    setText(this.age, age(nowMs - this.entry.deadAtMs))
  }

  setSelected(on) {
    this.box.checked = on
    setAttribute(this.node, 'data-selected', on ? '' : null)
  }

  async toggle() {
    if (this.detail) {
      this.detail.remove()
      this.detail = undefined
      setAttribute(this.button, 'aria-expanded', 'false')
      return
    }
    setAttribute(this.button, 'aria-expanded', 'true')
    const detail = h('div', { class: 'dl-detail' }, h('p', { class: 'quiet' }, 'Looking…'))
    this.detail = detail
    this.node.append(detail)
    try {
      const whole = await get('dead-letter', { id: this.entry.id })
      detail.replaceChildren(...this.describe(whole))
    } catch (error) {
      detail.replaceChildren(h('p', { 'data-tone': 'bad' }, visible(error.message)))
    }
  }

  describe(whole) {
    const { data } = whole
    const facts = [
      ['Id', whole.id],
      ['Class', `${whole.class}, ${whole.code}`],
      [
        'Where',
        `${whole.stage} in the lane ${whole.lane}, on ${whole.host}, memsyncd ${whole.daemonVersion}`,
      ],
      ['Attempts', `${count(whole.attempts)}, redriven ${count(whole.redrives)} times`],
      ['Accepted', whenOf(whole.acceptedAtMs)],
      [
        'Failed',
        `${whenOf(whole.firstFailedAtMs)}, for the last time ${duration(whole.lastFailedAtMs - whole.firstFailedAtMs)} later`,
      ],
      ['Version', whole.version ?? 'none'],
    ]
    const cut = data.cutFrom === null ? null : `The first part of ${count(data.cutFrom)} characters.`
    return [
      h('p', { class: 'dl-message', 'data-tone': 'bad' }, visible(whole.message)),
      h(
        'dl',
        { class: 'facts' },
        facts.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, visible(String(value))))),
      ),
      h('h4', {}, 'What its producer sent'),
      h('pre', { tabindex: 0, 'aria-label': 'Data' }, visibleLines(data.text)),
      cut && h('p', { class: 'quiet' }, cut),
      whole.stack
        ? h('details', {}, h('summary', {}, 'Stack'), h('pre', { tabindex: 0 }, visibleLines(whole.stack)))
        : null,
      h(
        'div',
        { class: 'buttons' },
        h(
          'button',
          { type: 'button', class: 'primary', onclick: () => this.actions.redrive(whole.id) },
          'Redrive',
        ),
        h('button', { type: 'button', class: 'danger', onclick: () => this.actions.drop(whole.id) }, 'Drop…'),
      ),
    ].filter(Boolean)
  }
}

/** Asking before something is done. */
import { h } from './dom.js'

/**
 * Resolves with whether the person said yes. No is where the focus is, so that a stray Enter does nothing.
 * @param question `{ title, text, yes, isDangerous }`
 */
export function confirm({ title, text, yes, isDangerous = false }) {
  const { promise, resolve } = Promise.withResolvers()
  const no = h('button', { type: 'submit', value: 'no', autofocus: true }, 'Cancel')
  const dialog = h(
    'dialog',
    { 'aria-labelledby': 'confirm-title' },
    h(
      'form',
      { method: 'dialog' },
      h('h2', { id: 'confirm-title' }, title),
      h('p', {}, text),
      h(
        'div',
        { class: 'buttons' },
        no,
        h('button', { type: 'submit', value: 'yes', class: isDangerous ? 'danger' : 'primary' }, yes),
      ),
    ),
  )
  dialog.addEventListener('close', () => {
    dialog.remove()
    resolve(dialog.returnValue === 'yes')
  })
  document.body.append(dialog)
  dialog.showModal()
  no.focus()
  return promise
}

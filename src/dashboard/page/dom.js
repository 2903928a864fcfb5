/**
 * Making elements. Text is only ever set as text, so that what comes from outside stays what it is: the page's policy
 * refuses markup from a string as well.
 */
const SVG = 'http://www.w3.org/2000/svg'

/**
 * An element with properties (`on*` functions listen, `data-*`, `aria-*` and the like are attributes) and children;
 * null and false children are left out.
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children)
}

export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children)
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else node.setAttribute(name, value === true ? '' : String(value))
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return node
}

/** Sets the text where it differs, so that a reader of the page is not told of what did not change. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name)
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value))
}

/** Whether what was typed is meant for a field. */
export function isTyping({ target, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey) return true
  return (
    target instanceof HTMLElement &&
    target.matches('input:not([type=checkbox]):not([type=radio]), select, textarea')
  )
}

/** Calls back once the calls have paused. */
export function debounced(work, delayMs) {
  let timer
  return (...args) => {
    clearTimeout(timer)
    timer = setTimeout(() => work(...args), delayMs)
  }
}

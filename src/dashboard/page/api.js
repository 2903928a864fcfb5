/** Asking the server that this page came from. */

/** A refusal, or no answer at all (`isGone`). */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message)
    this.status = status
    this.code = code
  }

  get isGone() {
    return this.status === 0
  }

  /** The cookie is not known any more. */
  get isOut() {
    return this.status === 401
  }
}

const TIMEOUT_MS = 15_000

export async function get(path, query = {}, signal = undefined) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
  const text = new URLSearchParams(given).toString()
  return ask(`/api/${path}${text === '' ? '' : `?${text}`}`, { signal })
}

export async function post(path, body) {
  return ask(`/api/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
}

async function ask(url, options) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS)
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout
  let response
  try {
    response = await fetch(url, { ...options, signal, credentials: 'same-origin' })
  } catch (error) {
    if (options.signal?.aborted) throw error
    throw new ApiError(0, 'GONE', 'the server of this page does not answer')
  }
  const document = await response.json().catch(() => ({}))
  if (response.ok) return document
  const { code = 'UNKNOWN', message = `status ${response.status}` } = document.error ?? {}
  throw new ApiError(response.status, code, message)
}

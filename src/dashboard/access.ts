/**
 * Who may look at the dashboard. A link carries either the token or a ticket; opening it gets the browser a cookie, and
 * nothing but the cookie is asked for from then on.
 *
 * - Token and cookie are derived from one secret, and neither tells the secret or the other.
 * - A ticket is for one use within ten minutes, so that a link seen in a list of processes or in a terminal's scrollback
 *   opens nothing afterwards. Servers of the same secret take each other's.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { isSameSecret } from '../producers/httpToken.ts'

const TICKET_LIFE_MS = 10 * 60_000

export class DashboardAccess {
  private readonly secret: string
  private readonly now: () => number
  /** Tickets that were used, with the time at which they would have ended anyway. */
  private readonly used = new Map<string, number>()

  /** @param now Unix milliseconds */
  constructor(secret: string, now: () => number = Date.now) {
    this.secret = secret
    this.now = now
  }

  /** Opens the dashboard any number of times. */
  get token(): string {
    return this.derive('link')
  }

  /** What the cookie holds. */
  get session(): string {
    return this.derive('session')
  }

  /** Opens the dashboard once. */
  ticket(): string {
    const facts = `${(this.now() + TICKET_LIFE_MS).toString(36)}.${randomBytes(9).toString('base64url')}`
    return `${facts}.${this.derive(`ticket ${facts}`)}`
  }

  /** Whether what a link carried opens the dashboard; a ticket does so no second time. */
  admit(presented: string): boolean {
    if (isSameSecret(presented, this.token)) return true
    const [expiry = '', nonce = '', ...rest] = presented.split('.')
    const facts = `${expiry}.${nonce}`
    const endsAtMs = Number.parseInt(expiry, 36)
    if (!isSameSecret(rest.join('.'), this.derive(`ticket ${facts}`)) || !(endsAtMs > this.now()))
      return false
    for (const [ticket, end] of this.used) if (end <= this.now()) this.used.delete(ticket)
    if (this.used.has(facts)) return false
    this.used.set(facts, endsAtMs)
    return true
  }

  isSession(cookie: string | undefined): boolean {
    return cookie !== undefined && isSameSecret(cookie, this.session)
  }

  private derive(what: string): string {
    return createHmac('sha256', this.secret).update(`memsync dashboard ${what}`).digest('base64url')
  }
}

/** Who gets into the dashboard: the token always, a ticket once and in time, nobody by anything that looks like them. */
import { describe, expect, it } from 'vitest'
import { DashboardAccess } from '../../src/dashboard/access.ts'

const SECRET = 'a secret of this data folder'

describe('access to the dashboard', () => {
  it('takes the token again and again', () => {
    const access = new DashboardAccess(SECRET)
    expect(access.admit(access.token)).toBe(true)
    expect(access.admit(access.token)).toBe(true)
  })

  it('takes a ticket once, also one of another server of the same secret', () => {
    const access = new DashboardAccess(SECRET)
    const ticket = new DashboardAccess(SECRET).ticket()
    expect(access.admit(ticket)).toBe(true)
    expect(access.admit(ticket)).toBe(false)
    expect(access.admit(access.ticket())).toBe(true)
  })

  it('takes a ticket for ten minutes and no longer, and its end cannot be put off', () => {
    let nowMs = 1_800_000_000_000
    const access = new DashboardAccess(SECRET, () => nowMs)
    const [early, late] = [access.ticket(), access.ticket()]
    nowMs += 10 * 60_000 - 1
    expect(access.admit(early)).toBe(true)
    nowMs += 1
    expect(access.admit(late)).toBe(false)
    const [, ...rest] = late.split('.')
    expect(access.admit([(nowMs + 60_000).toString(36), ...rest].join('.'))).toBe(false)
  })

  it('a used ticket stays used while others end', () => {
    let nowMs = 1_800_000_000_000
    const access = new DashboardAccess(SECRET, () => nowMs)
    const first = access.ticket()
    nowMs += 300_000
    const second = access.ticket()
    expect(access.admit(second)).toBe(true)
    nowMs += 300_001
    expect(access.admit(first)).toBe(false)
    expect(access.admit(second)).toBe(false)
  })

  it.each(['', '.', '..', 'x.y.z', 'Infinity.a.b', SECRET, '\u0000', 'a'.repeat(10_000)])(
    'refuses %j',
    (text) => {
      expect(new DashboardAccess(SECRET).admit(text)).toBe(false)
    },
  )

  it('token, cookie and secret tell nothing of each other', () => {
    const access = new DashboardAccess(SECRET)
    const other = new DashboardAccess(`${SECRET}2`)
    expect(access.admit(access.session)).toBe(false)
    expect(access.isSession(access.token)).toBe(false)
    expect(access.isSession(SECRET)).toBe(false)
    expect(access.isSession(undefined)).toBe(false)
    expect(access.isSession(access.session)).toBe(true)
    expect(access.isSession(other.session)).toBe(false)
    expect(access.admit(other.token)).toBe(false)
    expect(access.admit(other.ticket())).toBe(false)
  })
})

/** One memory that the remote chokes on, or all of them. */
import { describe, expect, it } from 'vitest'
import { type ErrorClass, MemsyncError } from '../../src/errors.ts'
import { FailureBreadth } from '../../src/queue/failureBreadth.ts'

const named = (key: string) => ({ namespace: 'default', key })
const unclear = new MemsyncError('MEMSYNC_REMOTE_UNCLEAR', 'answered 500')
const forbidden = new MemsyncError('MEMSYNC_REMOTE_FORBIDDEN', 'answered 403')

function classesOf(breadth: FailureBreadth, ...keys: string[]): ErrorClass[] {
  return keys.map((key) => breadth.weigh(named(key), unclear).class)
}

function classesOfForbidden(breadth: FailureBreadth, ...keys: string[]): ErrorClass[] {
  return keys.map((key) => breadth.weigh(named(key), forbidden).class)
}

describe('an answer that may be the fault of either', () => {
  it('costs a memory nothing the first time, and an attempt each time after it', () => {
    const breadth = new FailureBreadth()
    expect(classesOf(breadth, 'poison', 'poison', 'poison', 'poison')).toEqual([
      ...['outage', 'transient', 'transient', 'transient'],
    ])
  })

  it('costs the poison its attempts also where others succeed all the while', () => {
    const breadth = new FailureBreadth()
    const classes: ErrorClass[] = []
    for (let round = 0; round < 4; round++) {
      classes.push(...classesOf(breadth, 'poison'))
      breadth.succeeded(named('good'), true)
    }
    expect(classes).toEqual(['outage', 'transient', 'transient', 'transient'])
  })

  it('is an outage where it befalls three memories with no success between', () => {
    const breadth = new FailureBreadth()
    expect(classesOf(breadth, 'a', 'b', 'a', 'b', 'c', 'a', 'b', 'c')).toEqual([
      ...['outage', 'outage', 'transient', 'transient', 'outage', 'outage', 'outage', 'outage'],
    ])
    breadth.succeeded(named('c'), true)
    expect(classesOf(breadth, 'a', 'b', 'c')).toEqual(['transient', 'transient', 'outage'])
  })

  it('is forgotten once the memory itself succeeds', () => {
    const breadth = new FailureBreadth()
    expect(classesOf(breadth, 'a', 'a')).toEqual(['outage', 'transient'])
    breadth.succeeded(named('a'), true)
    expect(classesOf(breadth, 'a')).toEqual(['outage'])
  })

  it('leaves every other error as it is', () => {
    const breadth = new FailureBreadth()
    const refused = new MemsyncError('MEMSYNC_REMOTE_REFUSED', 'answered 413')
    const away = unclear.as('outage')
    for (const error of [refused, away, new MemsyncError('MEMSYNC_STORE_UNAVAILABLE', 'busy')]) {
      expect(breadth.weigh(named('a'), error)).toBe(error)
    }
    expect(classesOf(breadth, 'a')).toEqual(['outage'])
  })

  it('remembers no end of memories', () => {
    const breadth = new FailureBreadth()
    for (let n = 0; n < 1001; n++) {
      breadth.weigh(named(`k${n}`), unclear)
      breadth.succeeded(named('good'), true)
    }
    expect(classesOf(breadth, 'k1000')).toEqual(['transient'])
    expect(classesOf(breadth, 'k0')).toEqual(['outage'])
  })
})

describe('a memory that is forbidden', () => {
  it('is a dead letter the third time, where others were pushed between', () => {
    const breadth = new FailureBreadth()
    const classes: ErrorClass[] = []
    for (let round = 0; round < 4; round++) {
      classes.push(...classesOfForbidden(breadth, 'walled'))
      breadth.succeeded(named('good'), true)
    }
    // Redriven, it has its first time again.
    expect(classes).toEqual(['outage', 'outage', 'permanent', 'outage'])
  })

  it('is for the operator where it is forbidden again and nothing was pushed between, however often', () => {
    const breadth = new FailureBreadth()
    expect(classesOfForbidden(breadth, 'a', 'a', 'a', 'a')).toEqual([
      ...['outage', 'credentials', 'credentials', 'credentials'],
    ])
    breadth.succeeded(named('gone'), false)
    expect(classesOfForbidden(breadth, 'a')).toEqual(['credentials'])
  })

  it('is for the operator where it is the third with nothing pushed between, and none of them pays', () => {
    const breadth = new FailureBreadth()
    expect(classesOfForbidden(breadth, 'a', 'b', 'c', 'd', 'a')).toEqual([
      ...['outage', 'outage', 'credentials', 'credentials', 'credentials'],
    ])
    breadth.succeeded(named('c'), true)
    expect(classesOfForbidden(breadth, 'd')).toEqual(['outage'])
  })

  it('is forgotten once the memory itself is taken', () => {
    const breadth = new FailureBreadth()
    for (let round = 0; round < 5; round++) {
      expect(classesOfForbidden(breadth, 'a')).toEqual(['outage'])
      breadth.succeeded(named('a'), true)
    }
  })

  it('is remembered with no end of others', () => {
    const breadth = new FailureBreadth()
    const classes = new Set<ErrorClass>()
    // The oldest is forgotten each time, so that none ever comes to its third.
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 1001; n++) {
        classes.add(breadth.weigh(named(`k${n}`), forbidden).class)
        breadth.succeeded(named('good'), true)
      }
    }
    expect([...classes]).toEqual(['outage'])
  })
})

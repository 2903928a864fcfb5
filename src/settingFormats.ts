/** What the text of a setting may be, and what it comes to. Each throws a plain Error that says what is wrong with it. */
import { homedir } from 'node:os'
import { resolve } from 'node:path'

/** The shortest of the systems' limits on a unix socket's path (macOS), less the closing NUL. */
const MAX_SOCKET_PATH_BYTES = 103

export function integer(min: number, max: number) {
  return (text: string): number => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new Error(`is not a whole number from ${min} to ${max}`)
    }
    return value
  }
}

export function oneOf<const T extends string>(...choices: T[]) {
  return (text: string): T => {
    const choice = choices.find((candidate) => candidate === text)
    if (choice === undefined) throw new Error(`is not one of ${choices.join(', ')}`)
    return choice
  }
}

export function url(...protocols: string[]) {
  return (text: string): string => {
    const protocol = URL.canParse(text) ? new URL(text).protocol.slice(0, -1) : ''
    if (!protocols.includes(protocol)) throw new Error(`is not a URL of ${protocols.join(' or ')}`)
    return text
  }
}

/** A share, from 0 to 1. */
export function ratio(text: string): number {
  const value = Number(text)
  if (!/^\d*\.?\d+$/.test(text) || value > 1) throw new Error('is not a number from 0 to 1')
  return value
}

/** HTTP headers as `name=value`, with commas between. */
export function headers(text: string): Record<string, string> {
  const pairs = text
    .split(',')
    .map((pair) => /^\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*([\x21-\x7e ]+?)\s*$/.exec(pair))
  return Object.fromEntries(
    pairs.map((match) => {
      if (!match) throw new Error('is not NAME=VALUE, or several with commas between them')
      return [match[1], match[2]]
    }),
  )
}

export function yesOrNo(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw new Error('is not true or false')
  return text === 'true'
}

export interface TcpAddress {
  kind: 'tcp'
  host: string
  port: number
}

export type ListenAddress = TcpAddress | { kind: 'socket'; path: string }

export function listenAddress(text: string): ListenAddress {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '')
    if (path === '') throw new Error('is not unix: and a path')
    return { kind: 'socket', path: folder(path) }
  }
  const match = /^(\[[0-9a-f:.]+\]|[^\s:[\]]+):(\d{1,5})$/i.exec(text)
  const [host = '', port = -1] = [match?.[1]?.replace(/^\[|\]$/g, ''), Number(match?.[2] ?? -1)]
  if (port < 0 || port > 65_535) throw new Error('is not HOST:PORT or unix:PATH')
  return { kind: 'tcp', host, port }
}

/** Whether what is sent to this host stays on the machine. */
export function isLoopback(host: string): boolean {
  return /^(localhost|.*\.localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host)
}

/** A place where nothing but this machine can ask. */
export function loopbackAddress(text: string): ListenAddress {
  const address = listenAddress(text)
  if (address.kind === 'tcp' && !isLoopback(address.host)) {
    throw new Error('is not on this machine alone: 127.0.0.1:PORT, [::1]:PORT or unix:PATH is')
  }
  if (address.kind === 'socket' && Buffer.byteLength(address.path) > MAX_SOCKET_PATH_BYTES) {
    throw new Error(`has a path longer than ${MAX_SOCKET_PATH_BYTES} bytes, which no socket can have`)
  }
  return address
}

/** The same for what a browser asks, which knows no sockets. */
export function loopbackPort(text: string): TcpAddress {
  const address = text.startsWith('unix:') ? undefined : loopbackAddress(text)
  if (address?.kind !== 'tcp') throw new Error('is no port of this machine: 127.0.0.1:PORT is')
  return address
}

/** Text with placeholders for what is known of an agent's event. */
export function template(text: string): string {
  const unknown = /\{(?!(?:session|event|time|id|project)\})[^}]*\}?/.exec(text)?.[0]
  if (unknown !== undefined) {
    throw new Error(`has ${unknown}, which is not {session}, {event}, {time}, {id} or {project}`)
  }
  return text
}

/** A part of each night by the wall clock, in minutes after midnight; over midnight where it ends before it starts. */
export interface SleepWindow {
  startMinute: number
  endMinute: number
}

export function sleepWindow(text: string): SleepWindow | 'off' {
  if (text === 'off') return 'off'
  const match = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/.exec(text)
  if (!match) throw new Error('is not HH:MM-HH:MM, nor off')
  const [startMinute, endMinute] = [1, 3].map((at) => Number(match[at]) * 60 + Number(match[at + 1]))
  if (startMinute === undefined || endMinute === undefined || startMinute === endMinute) {
    throw new Error('begins and ends at the same time')
  }
  return { startMinute, endMinute }
}

/** Names of an agent's events, of which `all` and `none` stand for themselves. */
export function eventNames(text: string): string[] {
  const names = text.split(',').map((name) => name.trim())
  if (!names.every((name) => /^[A-Za-z]+$/.test(name))) {
    throw new Error('is not names of events with commas between them, nor all or none')
  }
  return names
}

export function folder(text: string): string {
  if (text.includes('\0')) throw new Error('is not a path')
  return resolve(text.replace(/^~(?=\/|$)/, homedir()))
}

/** A file, or the word `none` for no file. */
export function fileOrNone(text: string): { path: string | undefined } {
  return { path: text === 'none' ? undefined : folder(text) }
}

export function word(text: string): string {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(text)) throw new Error('is not 1 to 64 letters, digits, - or _')
  return text
}

export function text(value: string): string {
  return value
}

/** A secret that a header can carry and nobody guesses. */
export function token(value: string): string {
  if (!/^[\x21-\x7e]{16,}$/.test(value))
    throw new Error('is not 16 or more letters, digits or signs, without a space')
  return value
}

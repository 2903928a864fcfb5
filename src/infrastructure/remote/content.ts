/**
 * What is sent of a memory, and its hash. Pure.
 *
 * A string value goes verbatim, anything else as canonical JSON (RFC 8785), so that the same value always is
 * the same text whatever the order of its names.
 */
import { createHash } from 'node:crypto'
import { canonicalJson } from '../../jobs/canonicalJson.ts'
import type { JsonValue } from '../../jobs/jsonValue.ts'
import type { Metadata } from '../memory/port.ts'

export interface Content {
  /** What the remote stores and embeds. */
  text: string
  /** `text`: the value is this string; `json`: the value is this JSON. */
  format: 'text' | 'json'
  metadata: Metadata | undefined
  /** SHA-256, hex, of the three above: what a push receipt holds and `verify` compares. */
  contentHash: string
}

export function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex')
}

/** The content of a value and its metadata; empty metadata is the same as none. */
export function contentOf(value: JsonValue, metadata: Metadata | undefined): Content {
  // A lone surrogate has no UTF-8 form: such a string travels as JSON, where it is an escape.
  const format = typeof value === 'string' && value.isWellFormed() ? 'text' : 'json'
  return contentOfText(format === 'text' ? (value as string) : canonicalJson(value), format, metadata)
}

/** The same of text that is already made, as a remote gives it back. */
export function contentOfText(
  text: string,
  format: Content['format'],
  metadata: Metadata | undefined,
): Content {
  const carried = metadata && Object.keys(metadata).length > 0 ? metadata : undefined
  return {
    text,
    format,
    metadata: carried,
    contentHash: sha256(canonicalJson([format, text, carried ?? null])),
  }
}

/** The JSON text of the value. */
export function valueJsonOf(content: Content): string {
  return content.format === 'json' ? content.text : JSON.stringify(content.text)
}

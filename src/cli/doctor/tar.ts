/**
 * A tar archive of a few small files, in the ustar format that every tar reads. Pure.
 * https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06
 */

const BLOCK_BYTES = 512
const CHECKSUM_AT = 148

export interface TarFile {
  /** ASCII, at most 100 bytes. */
  name: string
  content: string
}

/** @param mtimeMs of every file, in Unix milliseconds */
export function tarOf(files: readonly TarFile[], mtimeMs: number): Buffer {
  const parts = files.flatMap(({ name, content }) => {
    const bytes = Buffer.from(content)
    const padding = Buffer.alloc((BLOCK_BYTES - (bytes.length % BLOCK_BYTES)) % BLOCK_BYTES)
    return [headerOf(name, bytes.length, mtimeMs), bytes, padding]
  })
  // Two empty blocks are the end.
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK_BYTES)])
}

function headerOf(name: string, bytes: number, mtimeMs: number): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES)
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`
  header.write(name, 0, 100)
  header.write(octal(0o600, 7), 100)
  header.write(octal(0, 7), 108)
  header.write(octal(0, 7), 116)
  header.write(octal(bytes, 11), 124)
  header.write(octal(Math.floor(mtimeMs / 1000), 11), 136)
  // The checksum is made with spaces in its own place.
  header.write(' '.repeat(8), CHECKSUM_AT)
  header.write('0', 156)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, CHECKSUM_AT)
  return header
}

/** The receiving end of sd_notify(3): a real unix datagram socket, which Node has not, so Python holds it. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** Whether both ends are there. */
export const HAS_NOTIFY =
  spawnSync('systemd-notify', ['--version']).status === 0 && spawnSync('python3', ['--version']).status === 0

/** `ready` once it listens, then each message as a line of JSON. Descriptors that come with one are closed. */
const RECEIVER = `
import json, os, socket, sys
address = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind('\\0' + address[1:] if address.startswith('@') else address)
print('ready', flush=True)
while True:
    message, ancillary, _, _ = receiver.recvmsg(65536, 4096)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            for at in range(0, len(data) - len(data) % 4, 4):
                os.close(int.from_bytes(data[at:at + 4], sys.byteorder))
    print(json.dumps(message.decode().split('\\n')), flush=True)
`

export interface NotifySocket {
  /** Every message but the barriers of systemd-notify, each as its assignments. */
  messages: string[][]
  /** All assignments so far. */
  told(): string[]
  close(): Promise<void>
}

/** @param address a path, or a name that begins with @ for an abstract socket */
export async function openNotifySocket(address: string): Promise<NotifySocket> {
  const receiver = spawn('python3', ['-c', RECEIVER, address], { stdio: ['ignore', 'pipe', 'inherit'] })
  const messages: string[][] = []
  const ended = once(receiver, 'exit')
  const lines = createInterface({ input: receiver.stdout })
  await once(lines, 'line')
  lines.on('line', (line) => {
    const assignments = (JSON.parse(line) as string[]).filter((text) => text !== '' && text !== 'BARRIER=1')
    if (assignments.length > 0) messages.push(assignments)
  })
  return {
    messages,
    told: () => messages.flat(),
    close: async () => {
      receiver.kill('SIGKILL')
      await ended
    },
  }
}

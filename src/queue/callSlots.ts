/**
 * How many calls may be under way at once, where more jobs than that are in flight: while one job's result is being
 * written down, another's call goes on. First come, first served.
 */
export class CallSlots {
  private readonly limit: number
  private taken = 0
  private readonly waiting: (() => void)[] = []

  constructor(limit: number) {
    this.limit = limit
  }

  /** Runs `call` once there is a slot for it. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.taken < this.limit) this.taken++
    else await new Promise<void>((resolve) => this.waiting.push(resolve))
    try {
      return await call()
    } finally {
      // Handed on, not given back, so that nobody comes between.
      const next = this.waiting.shift()
      if (next) next()
      else this.taken--
    }
  }
}

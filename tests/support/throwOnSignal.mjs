/** Loaded before the daemon (`--import`): throws on SIGUSR2, as a library might whose message holds a value in lines. */
process.once('SIGUSR2', () => {
  const value = process.env.TEST_VALUE
  throw new Error(`first line\n${value}\n    at ${value}\n  last line`)
})

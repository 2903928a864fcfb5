import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: ['tests/support/runFolder.ts'],
    // Processes of their own, as tests send signals and hold locks that belong to a process.
    pool: 'forks',
    // Many tests wait more than they work.
    maxWorkers: 3,
    // For what hangs: no test takes a third of it, beside others on a busy machine.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 20_000 } },
    // Only what took longer than it may: see tests/support/promptness.ts.
    retry: { count: 2, condition: /too slow: / },
  },
})

import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: ['tests/support/runFolder.ts'],
    // Processes of their own, as tests send signals and hold locks that belong to a process.
    pool: 'forks',
    // Many tests wait more than they work.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})

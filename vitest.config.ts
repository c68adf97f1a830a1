import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

/** A process of its own for each file: they start real processes, or put another module in the place of one of ours. */
const alone = ['test/{e2e,interop,main}/**/*.test.ts', 'test/core/identity/own-output.test.ts'];

export default defineConfig({
  test: {
    testTimeout: 20_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    // Two cores: more workers only make the real processes of the e2e tests wait for each other.
    maxWorkers: 2,
    // Many tests start real processes of ours: what those compile is compiled once.
    env: { NODE_COMPILE_CACHE: resolve(import.meta.dirname, 'node_modules/.cache/writ-tests') },
    projects: [
      { extends: true, test: { name: 'alone', include: alone } },
      // One process after the other takes a file: loading what they have in common for each took half of the time.
      {
        extends: true,
        test: {
          name: 'together',
          include: ['test/**/*.test.ts'],
          exclude: alone,
          isolate: false,
          globalSetup: ['test/support/shared-postgres.ts'],
        },
      },
    ],
  },
});

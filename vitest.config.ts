import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    testTimeout: 20_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    // Two cores: more workers only make the real processes of the e2e tests wait for each other.
    maxWorkers: 2,
    // Many tests start real processes of ours: what those compile is compiled once.
    env: { NODE_COMPILE_CACHE: resolve(import.meta.dirname, 'node_modules/.cache/writ-tests') },
    globalSetup: [],
    reporters: process.env.CI ? ['default'] : ['default'],
  },
});

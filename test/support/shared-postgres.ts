import type { TestProject } from 'vitest/node';
import { postgresMissing, startPostgres } from './postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** URL of a server that all test files share, each with a database of its own. Absent: each starts one. */
    postgres?: string | undefined;
  }
}

/** One PostgreSQL for a run of everything: to make one for each file took a second each time. */
export default async function setup({ provide }: TestProject): Promise<(() => Promise<void>) | undefined> {
  // Where single files were asked for, those that need one start it.
  const isWhole = !process.argv.slice(2).some((each) => each.includes('test/'));
  if (postgresMissing !== undefined || !isWhole) return undefined;
  const server = await startPostgres();
  provide('postgres', server.url);
  return () => server.stop();
}

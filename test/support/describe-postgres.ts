import { describe } from 'vitest';
import { postgresMissing } from './postgres.ts';

/** Declares a suite that needs PostgreSQL: where it is absent, the suite is skipped, by name and with the reason. */
export function describeOnPostgres(name: string, suite: () => void): void {
  const title = postgresMissing === undefined ? name : `${name} [SKIPPED: ${postgresMissing}]`;
  // The default reporter only counts what is skipped.
  if (postgresMissing !== undefined) process.stderr.write(`${title}\n`);
  describe.skipIf(postgresMissing !== undefined)(title, suite);
}

import type { Migration } from '../migration.ts';

/** The last good keys of those who issue tokens to end users, by where they were fetched. */
export const issuerKeys: Migration = {
  name: '0017-issuer-keys',
  statements: (t) => [
    `create table issuer_keys (
      source ${t.text} primary key,
      jwks ${t.text} not null,
      fetched_at ${t.bigint} not null
    )${t.strict}`,
  ],
};

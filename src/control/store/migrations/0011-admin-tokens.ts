import type { Migration } from '../migration.ts';

/** Tokens of administrators by name, besides the one in the data directory. */
export const adminTokens: Migration = {
  name: '0011-admin-tokens',
  statements: (t) => [
    `create table admin_tokens (
      id ${t.text} primary key,
      name ${t.text} not null,
      token_hash ${t.text} not null unique,
      created_at ${t.bigint} not null,
      expires_at ${t.bigint} not null,
      last_used_at ${t.bigint}
    )${t.strict}`,
    `create index admin_tokens_by_expiry on admin_tokens (expires_at)`,
  ],
};

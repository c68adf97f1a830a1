import type { Migration } from '../migration.ts';

/** Answers to requests with an Idempotency-Key, sealed; and the labels of policies, by which lists choose. */
export const idempotency: Migration = {
  name: '0003-idempotency',
  statements: (t) => [
    `create table idempotency_keys (
      caller ${t.text} not null,
      key_hash ${t.text} not null,
      request_mac ${t.text} not null,
      salt ${t.text} not null,
      claim ${t.text} not null,
      claimed_until ${t.bigint} not null,
      answer ${t.text},
      expires_at ${t.bigint} not null,
      primary key (caller, key_hash)
    )${t.strict}`,
    `create index idempotency_keys_by_expiry on idempotency_keys (expires_at)`,

    `alter table policies add column labels ${t.text} not null default '{}'`,
  ],
};

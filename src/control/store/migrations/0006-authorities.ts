import type { Migration } from '../migration.ts';

/** Authorities with their states, and which bundle each sidecar has in force. Private keys are in the key store, never here. */
export const authorities: Migration = {
  name: '0006-authorities',
  statements: (t) => [
    `create table authorities (
      id ${t.text} primary key,
      kind ${t.text} not null check (kind in ('x509', 'jwt', 'wit')),
      state ${t.text} not null
        check (state in ('new', 'prepared', 'active', 'old', 'tainted', 'retired', 'revoked')),
      name ${t.text} not null,
      key_name ${t.text},
      certificate ${t.bytes},
      jwk ${t.text},
      not_before ${t.bigint} not null,
      not_after ${t.bigint} not null,
      below_ms ${t.bigint} not null,
      created_at ${t.bigint} not null,
      since ${t.bigint} not null,
      sequence ${t.bigint} not null,
      soon integer not null
    )${t.strict}`,

    // One row. "version" counts every change to the table above, "sequence" those that show in the bundle.
    `create table authority_head (
      id integer primary key check (id = 1),
      version ${t.bigint} not null,
      sequence ${t.bigint} not null
    )${t.strict}`,
    `insert into authority_head (id, version, sequence) values (1, 0, 0)`,

    `alter table proxies add column bundle_sequence ${t.bigint}`,
  ],
};

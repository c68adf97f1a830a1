import type { Migration } from '../migration.ts';

/** Identities that are cut off, and those that were: rows stay, so that the revision of the list never goes back. */
export const quarantine: Migration = {
  name: '0014-quarantine',
  statements: (t) => [
    `create table quarantines (
      id ${t.text} primary key,
      spiffe_id ${t.text} not null,
      reason ${t.text} not null,
      author ${t.text} not null,
      created_at ${t.bigint} not null,
      release_reason ${t.text},
      released_by ${t.text},
      released_at ${t.bigint},
      revision ${t.bigint} not null
    )${t.strict}`,
    `create unique index quarantines_in_force on quarantines (spiffe_id) where released_at is null`,
    `create index quarantines_by_revision on quarantines (revision)`,

    // How a call that was cut off came to its end.
    `alter table audit_completions add column cut_reason ${t.text}`,
    `alter table audit_completions add column cut_rule ${t.text}`,
    `alter table audit_completions add column cut_revision ${t.bigint}`,
  ],
};

import type { Migration } from '../migration.ts';

/** The last checkpoint that was signed for each audit log: what makes sure that none is ever signed twice, otherwise. */
export const log: Migration = {
  name: '0009-log',
  statements: (t) => [
    `create table audit_log_locks (
      origin ${t.text} primary key,
      checkpoint ${t.text} not null
    )${t.strict}`,
  ],
};

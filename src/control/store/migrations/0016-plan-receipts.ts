import type { Migration } from '../migration.ts';

/** Which plans were made, for namespaces whose changes need one. */
export const planReceipts: Migration = {
  name: '0016-plan-receipts',
  statements: (t) => [
    `create table plan_receipts (
      digest ${t.text} not null,
      base_revision ${t.bigint} not null,
      made_at ${t.bigint} not null,
      made_by ${t.text} not null,
      primary key (digest, base_revision)
    )${t.strict}`,
    `create index plan_receipts_by_age on plan_receipts (made_at)`,
  ],
};

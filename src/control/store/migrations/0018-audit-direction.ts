import type { Migration } from '../migration.ts';

/** Calls that go out, which the sidecar of the caller decided on: null for those that come in. */
export const auditDirection: Migration = {
  name: '0018-audit-direction',
  statements: (t) => [`alter table audit_records add column direction ${t.text}`],
};

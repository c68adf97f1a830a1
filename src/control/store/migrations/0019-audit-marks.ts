import type { Migration } from '../migration.ts';

/**
 * What else a sidecar records of a call: what policies in shadow mode would have decided, the AUDIT that matched, whether it came
 * in plain text, and for which end user. Null where it says nothing of it.
 */
export const auditMarks: Migration = {
  name: '0019-audit-marks',
  statements: (t) =>
    ['shadow_decision', 'shadow_rule', 'audit_rule', 'transport', 'end_user'].map(
      (column) => `alter table audit_records add column ${column} ${t.text}`,
    ),
};

/** What the index follows from the ledger: every row of these can be thrown away and made again. */
export const indexTables = [
  'audit_records',
  'audit_completions',
  'audit_notes',
  'identity_events',
  'admin_events',
] as const;

import type { Migration } from './migration.ts';
import { initial } from './migrations/0001-initial.ts';
import { audit } from './migrations/0002-audit.ts';
import { idempotency } from './migrations/0003-idempotency.ts';
import { entries } from './migrations/0004-entries.ts';
import { nodes } from './migrations/0005-nodes.ts';
import { authorities } from './migrations/0006-authorities.ts';
import { federation } from './migrations/0007-federation.ts';
import { identityEvents } from './migrations/0008-identity-events.ts';
import { log } from './migrations/0009-log.ts';
import { policyReasons } from './migrations/0010-policy-reasons.ts';
import { adminTokens } from './migrations/0011-admin-tokens.ts';
import { policyKinds } from './migrations/0012-policy-kinds.ts';
import { policyChanges } from './migrations/0013-policy-changes.ts';
import { quarantine } from './migrations/0014-quarantine.ts';
import { adminEvents } from './migrations/0015-admin-events.ts';
import { planReceipts } from './migrations/0016-plan-receipts.ts';
import { issuerKeys } from './migrations/0017-issuer-keys.ts';
import { auditDirection } from './migrations/0018-audit-direction.ts';
import { auditMarks } from './migrations/0019-audit-marks.ts';

/** The schema, in order. The position in this list (from 1) is the schema version. */
export const migrations: readonly Migration[] = [
  initial,
  audit,
  idempotency,
  entries,
  nodes,
  authorities,
  federation,
  identityEvents,
  log,
  policyReasons,
  adminTokens,
  policyKinds,
  policyChanges,
  quarantine,
  adminEvents,
  planReceipts,
  issuerKeys,
  auditDirection,
  auditMarks,
];

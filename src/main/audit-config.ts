import type { Schema, Values } from '../base/config.ts';
import { optional, withDefault } from '../base/config.ts';
import { flag, text } from '../base/config-types.ts';

/** The audit log as others see it. */
export const auditSchema = {
  'audit.origin': optional(
    text({ form: 'name', pattern: /^[A-Za-z0-9._~:/-]{1,255}$/, hint: 'a URL without its scheme' }),
    'Name of the audit log in its checkpoints; <trust domain>/writ/audit if not given. Every replica needs one of its own',
  ),
  'audit.public': withDefault(
    flag,
    'false',
    'Serve /log without a token: hashes and signatures of batches, and who shipped them, but no call',
  ),
  'audit.databaseRestored': withDefault(
    flag,
    'false',
    'The database was restored from a backup and is older than the audit log: follow the log. For one start only',
  ),
} as const satisfies Schema;

export interface AuditConfig {
  readonly origin: string;
  readonly isPublic: boolean;
  readonly databaseRestored: boolean;
}

export function auditConfig(values: Values<typeof auditSchema>, trustDomain: string): AuditConfig {
  return Object.freeze({
    origin: values['audit.origin'] ?? `${trustDomain}/writ/audit`,
    isPublic: values['audit.public'],
    databaseRestored: values['audit.databaseRestored'],
  });
}

import { resolve } from 'node:path';
import type { Schema, Values } from '../base/config.ts';
import { optional, withDefault } from '../base/config.ts';
import { flag, path, text } from '../base/config-types.ts';
import { AppError } from '../base/errors.ts';
import { MAX_WITNESSES } from '../control/ledger/log/witnesses.ts';
import type { LogPolicy } from '../core/audit/log-policy.ts';
import { isReached } from '../core/audit/log-policy.ts';
import { readLogPolicy } from './log-policy-file.ts';
import { isLoopback } from './loopback.ts';

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
  'audit.witnesses': optional(
    path,
    'File with the witnesses that cosign the audit log, their URLs, and the quorum without which no checkpoint is shown (c2sp.org/tlog-policy)',
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
  /** The file of a policy; undefined: nobody is asked. */
  readonly witnessFile: string | undefined;
}

export function auditConfig(values: Values<typeof auditSchema>, trustDomain: string): AuditConfig {
  return Object.freeze({
    origin: values['audit.origin'] ?? `${trustDomain}/writ/audit`,
    isPublic: values['audit.public'],
    databaseRestored: values['audit.databaseRestored'],
    witnessFile: values['audit.witnesses'] === undefined ? undefined : resolve(values['audit.witnesses']),
  });
}

/**
 * Whom to ask, from its file. Throws `usage` for a witness that cannot be asked, and for a quorum that those who can be do not
 * reach.
 */
export async function readWitnesses(file: string | undefined): Promise<LogPolicy | undefined> {
  if (file === undefined) return undefined;
  const wrong = (why: string) => new AppError('usage', `Cannot use ${file}, the witnesses of the audit log: ${why}.`);
  const policy = await readLogPolicy(file);
  const { witnesses } = policy;
  if (witnesses.length === 0) throw wrong('it has no witness line');
  if (witnesses.length > MAX_WITNESSES) throw wrong(`it has more than ${MAX_WITNESSES} witnesses`);
  for (const { name, url } of witnesses) {
    if (url === undefined) continue;
    const parsed = URL.canParse(url) ? new URL(url) : undefined;
    const isAllowed =
      parsed?.protocol === 'https:' ||
      (parsed?.protocol === 'http:' && isLoopback(parsed.hostname.replace(/[[\]]/g, '')));
    if (parsed === undefined || !isAllowed || parsed.search !== '' || parsed.hash !== '' || parsed.username !== '')
      throw wrong(`the URL of ${name} is not https, or http on this machine, without a query`);
  }
  const asked = witnesses.flatMap(({ name, url }) => (url === undefined ? [] : [name]));
  if (!isReached(policy, new Set(asked))) throw wrong('its quorum cannot be reached by the witnesses that have a URL');
  return policy;
}

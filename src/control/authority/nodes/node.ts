import type { Selectable } from 'kysely';
import { AppError } from '../../../base/errors.ts';
import { isAgentId } from '../../../core/identity/agent-id.ts';
import type { PeerIdentity } from '../../../core/identity/chain.ts';
import type { NodesTable } from '../../store/tables.ts';

/** What has attested itself with the control plane: an agent, or a workload that has none (a sidecar, a CI job). */
export interface Node {
  /** As in its certificates. */
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly kind: 'agent' | 'workload';
  readonly method: string;
  /** What the method knows it by. A ban holds for the subject: it cannot come back as another instance. */
  readonly subject: string;
  /** The entry that gave it its identity; null for an agent. */
  readonly entryId: string | null;
  /** What attestation found out about it. */
  readonly selectors: readonly string[];
  /** Of the certificate that is in use, lower hex. */
  readonly serial: string;
  /** Of one that was issued and has not been used yet; null for none. */
  readonly nextSerial: string | null;
  /** Whether it can prove itself again at any time; then it does so instead of renewing (S6). */
  readonly canReattest: boolean;
  readonly banned: boolean;
  /** Milliseconds since the epoch, as the following. */
  readonly attestedAt: number;
  readonly lastSeen: number;
  /** When its last certificate expires. */
  readonly expiresAt: number;
  /** The bundle that it has acknowledged; null when it never has. */
  readonly bundleSequence: number | null;
  readonly revision: number;
}

/** A workload that attests anew each time, a job: once its certificate has expired, nothing will ever be this instance again. */
export function isPassing({ kind, canReattest, banned }: Pick<Node, 'kind' | 'canReattest' | 'banned'>): boolean {
  return kind === 'workload' && canReattest && !banned;
}

/** An instance that was sent away. */
export interface Eviction {
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly evicted: true;
  readonly expiresAt: number;
  readonly revision: number;
}

/** What of a caller the gate looks at. */
export type Caller = Pick<PeerIdentity, 'id' | 'instanceId' | 'serial'>;

export type Verdict =
  | { readonly kind: 'pass' }
  /** It shows the next certificate for the first time: from now on that is the one. */
  | { readonly kind: 'promote' }
  | {
      readonly kind: 'refuse';
      readonly why: 'banned' | 'evicted' | 'superseded' | 'unknown';
      readonly error: AppError;
    };

const pass: Verdict = Object.freeze({ kind: 'pass' });
const promote: Verdict = Object.freeze({ kind: 'promote' });

/**
 * The rule of the gate (S3), for what is known of the caller's instance. A workload that is not known was issued through an
 * agent, which is what is banned or evicted instead of it.
 */
export function judge(known: Node | Eviction | undefined, caller: Caller): Verdict {
  const uri = caller.id.uri;
  if (known === undefined) {
    if (!isAgentId(caller.id)) return pass;
    return refuse('unknown', `${uri} is not attested, or was evicted. Attest it again.`);
  }
  if ('evicted' in known) {
    return refuse('evicted', `${uri} (instance ${known.instanceId}) was evicted. Attest it again.`);
  }
  // An instance id belongs to one identity for ever; a certificate that says otherwise is not ours to explain.
  if (known.spiffeId !== uri) return refuse('unknown', `The instance ${known.instanceId} is not ${uri}. Attest again.`);
  if (known.banned) {
    return refuse(
      'banned',
      `${uri} (instance ${known.instanceId}) is banned. An operator can lift that: writ node unban ${known.instanceId}`,
    );
  }
  if (caller.serial === known.serial) return pass;
  if (caller.serial === known.nextSerial) return promote;
  return refuse(
    'superseded',
    `This certificate of ${uri} (instance ${known.instanceId}) was replaced by a newer one, which is in use. ` +
      'If nobody restored a backup, its key was copied: evict the node and attest it again.',
  );
}

function refuse(why: Extract<Verdict, { kind: 'refuse' }>['why'], message: string): Verdict {
  return { kind: 'refuse', why, error: new AppError('forbidden', message) };
}

export function toNode(row: Selectable<NodesTable>): Node {
  return Object.freeze({
    instanceId: row.instance_id,
    spiffeId: row.spiffe_id,
    kind: row.kind,
    method: row.method,
    subject: row.subject,
    entryId: row.entry_id,
    selectors: Object.freeze(JSON.parse(row.selectors) as string[]),
    serial: row.serial,
    nextSerial: row.next_serial,
    canReattest: row.can_reattest === 1,
    banned: row.banned === 1,
    attestedAt: row.attested_at,
    lastSeen: row.last_seen,
    expiresAt: row.expires_at,
    bundleSequence: row.bundle_sequence,
    revision: row.revision,
  });
}

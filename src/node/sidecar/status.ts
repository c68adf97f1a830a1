import type { InboundEndpoint } from '../../wire/policy.ts';
import { joinAddress } from '../agent/address.ts';
import type { Svid } from '../agent/svid.ts';
import type { Listener } from './listener.ts';
import { plainTextPorts } from './plain-text.ts';
import type { PolicyState } from './policy-state.ts';

/** What a sidecar says about itself, at `/v1/status`. Times are RFC 3339. */
export interface SidecarStatus {
  readonly version: string;
  readonly identity: {
    readonly spiffeId: string;
    readonly instanceId: string;
    readonly notAfter: string;
    readonly valid: boolean;
  };
  /** null before the first one: then calls are refused. */
  readonly policy: {
    readonly revision: number;
    readonly hash: string;
    readonly publishedAt: string;
    readonly connected: boolean;
    /** Seconds since the control plane last confirmed it; 0 while it is connected. */
    readonly ageSeconds: number;
  } | null;
  /** Where callers without a certificate are let in, by port of the application, and how many calls of theirs came since the start. */
  readonly plainText: { readonly ports: readonly number[]; readonly calls: number };
  readonly audit: {
    readonly shippedThrough: number;
    readonly pending: number;
    readonly lastAckAt: string | null;
    /** The audit log as it was verified last; null before the control plane has shown it. */
    readonly log: { readonly origin: string; readonly size: number; readonly loggedThrough: number } | null;
    /** Why nothing is shipped: null while it is. */
    readonly problem: string | null;
    /** Of the spool on disk: used, and the most that is. */
    readonly spool: { readonly bytes: number; readonly maxBytes: number };
    /** Calls since the start that were let in while the spool was full, and only counted. */
    readonly degradedCalls: number;
  };
  readonly inbound: readonly InboundEndpoint[];
  readonly outbound: string;
}

export function describeStatus(
  o: {
    readonly version: string;
    readonly identity: Svid;
    readonly policy: PolicyState | undefined;
    readonly audit: {
      readonly shippedThrough: number;
      readonly pending: number;
      readonly lastAckAt: number | undefined;
      readonly log: NonNullable<SidecarStatus['audit']['log']> | undefined;
      readonly problem: string | undefined;
      readonly spool: SidecarStatus['audit']['spool'];
      readonly degradedCalls: number;
    };
    readonly plainTextCalls: number;
    readonly endpoints: readonly InboundEndpoint[];
    readonly outbound: Pick<Listener, 'host' | 'port'>;
  },
  now: number,
): SidecarStatus {
  const { identity, policy, audit } = o;
  return {
    version: o.version,
    identity: {
      spiffeId: identity.id.uri,
      instanceId: identity.instanceId,
      notAfter: rfc3339(identity.notAfter),
      valid: now <= identity.notAfter,
    },
    policy:
      policy === undefined
        ? null
        : {
            revision: policy.revision,
            hash: policy.hash.toString('hex'),
            publishedAt: rfc3339(policy.publishedAt),
            connected: policy.connected,
            ageSeconds: policy.connected ? 0 : Math.max(0, Math.round((now - policy.receivedAt) / 1000)),
          },
    plainText: {
      ports: plainTextPorts(
        policy,
        o.endpoints.map((endpoint) => endpoint.applicationPort),
      ),
      calls: o.plainTextCalls,
    },
    audit: {
      shippedThrough: audit.shippedThrough,
      pending: audit.pending,
      lastAckAt: audit.lastAckAt === undefined ? null : rfc3339(audit.lastAckAt),
      log: audit.log ?? null,
      problem: audit.problem ?? null,
      spool: audit.spool,
      degradedCalls: audit.degradedCalls,
    },
    inbound: o.endpoints,
    outbound: joinAddress(o.outbound.host, o.outbound.port),
  };
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString();
}

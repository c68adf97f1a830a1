import { isIP } from 'node:net';
import type { Connection } from '../../../core/policy/model.ts';

export type RemoteIp =
  | { readonly ok: true; readonly connection: Connection }
  /** What stands where a trusted proxy writes is no address. */
  | { readonly ok: false; readonly why: string };

/**
 * Who stands behind the proxies that are trusted: each of them has put the address that it was called from at the end of
 * X-Forwarded-For, so the one that many places from the end is the client's, and all before it are what the client says of
 * itself (reference: rule 19). Where there are not as many the caller has not come through them, and is itself the client.
 *
 * With a trusted proxy, every workload that may call without it can say that it is anybody: rules that ask for the remote
 * address also name the proxy.
 */
export function withRemoteIp(
  connection: Connection,
  fields: readonly string[],
  trustedProxies: number | undefined,
): RemoteIp {
  if (trustedProxies === undefined || trustedProxies === 0) return { ok: true, connection };
  const hops: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    // Several fields are one list (RFC 9110 §5.2).
    if ((fields[i] ?? '').toLowerCase() === 'x-forwarded-for') hops.push(...(fields[i + 1] ?? '').split(','));
  }
  const hop = hops.at(-trustedProxies)?.trim();
  if (hop === undefined) return { ok: true, connection };
  // To take the peer's address instead would let a client get past a rule by writing nonsense.
  if (isIP(hop) === 0 || hop.includes('%'))
    return { ok: false, why: 'X-Forwarded-For has no address where a proxy writes it' };
  return { ok: true, connection: { ...connection, remoteIp: hop } };
}

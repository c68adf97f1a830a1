import type { AttributeContext } from '../../../wire/gen/envoy/service/auth/v3/AttributeContext.ts';
import type { CheckRequest } from '../../../wire/gen/envoy/service/auth/v3/CheckRequest.ts';
import type { Call } from '../enforce.ts';
import { isSetBySidecars } from '../http1-head.ts';
import type { RequestChanges } from './request-changes.ts';
import { changedFields } from './request-changes.ts';

/** A call as an authorizer is told of it: as it will be forwarded. */
export interface Asked {
  readonly call: Call;
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** Normalised, with the query; empty on TCP. */
  readonly target: string;
  /** SPIFFE ID of the called workload. */
  readonly destination: string;
  /** What checks before have changed. */
  readonly changes: RequestChanges | undefined;
}

/** What Envoy would say of the call; of TCP only who calls whom, from where. */
export function checkRequest(asked: Asked): CheckRequest {
  const { call, destination, time } = asked;
  const { peerIp, ownIp, sni } = call.connection;
  return {
    attributes: {
      source: { ...address(peerIp, 0), ...(call.peer !== undefined && { principal: call.peer.id.uri }) },
      destination: { ...address(ownIp, call.port), principal: destination },
      request: {
        time: { seconds: String(Math.floor(time / 1000)), nanos: (Math.floor(time) % 1000) * 1_000_000 },
        ...(call.protocol !== 'tcp' && { http: httpOf(asked) }),
      },
      ...(sni !== undefined && { tlsSession: { sni } }),
    },
  };
}

function address(ip: string | undefined, port: number): object {
  return ip === undefined ? {} : { address: { socketAddress: { address: ip, portValue: port } } };
}

type Http = NonNullable<NonNullable<AttributeContext['request']>['http']>;

function httpOf({ call, target, changes }: Asked): Http {
  const headers = joined(changedFields(call.fields, changes));
  const length = headers['content-length'];
  return {
    id: call.traceId,
    method: call.method,
    path: target,
    host: call.host,
    scheme: 'https',
    size: length !== undefined && /^[0-9]{1,15}$/.test(length) ? length : '-1',
    headers: { ...headers, ':method': call.method, ':path': target, ':authority': call.host, ':scheme': 'https' },
  };
}

/**
 * Every value of a field, joined: an authorizer that sees only one of them can be lied to (CVE-2021-32777). Bytes above 127
 * become characters of their own, so that no field makes the question unsendable (CVE-2023-27488).
 */
function joined(fields: readonly string[]): Record<string, string> {
  const headers = new Map<string, string>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = (fields[i] ?? '').toLowerCase();
    if (name.startsWith(':') || isSetBySidecars(name)) continue;
    const value = fields[i + 1] ?? '';
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ','}${value}`);
  }
  // `__proto__` is a name like any other.
  return Object.fromEntries(headers);
}

import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Rule, Schema, Values } from '../base/config.ts';
import { optional, withDefault } from '../base/config.ts';
import { address, formatAddress, integer, list, path, record, text } from '../base/config-types.ts';
import { reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { ExternalAuthorizer } from '../core/policy/snapshot.ts';
import { isLoopbackAddress, MAX_TRUSTED_PROXIES } from '../core/policy/snapshot.ts';

const MAX_TIMEOUT_MS = 60_000;
const DEFAULT_TIMEOUT_MS = 1_000;

/** Whom sidecars ask, and whom they believe (docs/external-authorizers.md). */
export const authorizersSchema = {
  'policy.authorizers': optional(
    list(
      record({
        /** As `spec.provider.name` of a CUSTOM policy says it. */
        name: { type: text({ form: 'name', pattern: /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/ }), required: true },
        address: { type: address(), required: true },
        /** Default 1s. */
        timeout: {
          type: text({ form: 'duration', pattern: /^[1-9][0-9]{0,4}(ms|s)$/, hint: 'such as 200ms or 2s' }),
          required: false,
        },
        caFile: { type: path, required: false },
        maxBodyBytes: { type: integer({ min: 0, max: 1_048_576, unit: 'bytes' }), required: false },
      }),
      { max: 64 },
    ),
    'Envoy ext_authz services (gRPC) that CUSTOM policies can name, as the sidecars reach them',
  ),
  'policy.trustedProxies': withDefault(
    integer({ min: 0, max: MAX_TRUSTED_PROXIES }),
    '0',
    'Proxies in front of workloads that append to X-Forwarded-For; with 0 the field is not believed',
  ),
} as const satisfies Schema;

export const authorizersRules: readonly Rule<typeof authorizersSchema>[] = [
  (values, report) => {
    const key = 'policy.authorizers';
    const names = new Set<string>();
    for (const { name, address: at, timeout, caFile, maxBodyBytes } of values[key] ?? []) {
      if (names.has(name)) report(key, `names ${name} twice: nobody could say who is asked.`);
      names.add(name);
      if (caFile === undefined && !isLoopbackAddress(formatAddress(at))) {
        report(
          key,
          `needs caFile for ${name}: in plain text only an authorizer on the sidecar's own machine is asked.`,
        );
      }
      if (timeout !== undefined && msOf(timeout) > MAX_TIMEOUT_MS) report(key, `has a timeout over 60s for ${name}.`);
      if (maxBodyBytes !== undefined && maxBodyBytes > 0) {
        report(key, `wants the body of calls for ${name}. Bodies are not sent to authorizers: leave maxBodyBytes out.`);
      }
    }
  },
];

export interface AuthorizersConfig {
  readonly authorizers: readonly (Omit<ExternalAuthorizer, 'ca'> & { readonly caFile: string | undefined })[];
  readonly trustedProxies: number;
}

export function authorizersConfig(values: Values<typeof authorizersSchema>): AuthorizersConfig {
  return Object.freeze({
    authorizers: Object.freeze(
      (values['policy.authorizers'] ?? []).map((each) =>
        Object.freeze({
          name: each.name,
          address: formatAddress(each.address),
          timeoutMs: each.timeout === undefined ? DEFAULT_TIMEOUT_MS : msOf(each.timeout),
          caFile: each.caFile === undefined ? undefined : resolve(each.caFile),
          maxBodyBytes: 0,
        }),
      ),
    ),
    trustedProxies: values['policy.trustedProxies'],
  });
}

/** Reads the files of CAs, which the sidecars are sent. Throws `usage` for one that is not PEM of certificates. */
export async function readAuthorizers({ authorizers }: AuthorizersConfig): Promise<readonly ExternalAuthorizer[]> {
  return await Promise.all(
    authorizers.map(async ({ caFile, ...rest }) =>
      Object.freeze(caFile === undefined ? rest : { ...rest, ca: await readCa(caFile, rest.name) }),
    ),
  );
}

async function readCa(file: string, name: string): Promise<string> {
  const wrong = (why: string, cause?: unknown) =>
    new AppError('usage', `Cannot use ${file}, the CAs of the authorizer ${name}: ${why}.`, { cause });
  let pem: string;
  try {
    pem = await readFile(file, 'utf8');
  } catch (cause) {
    throw wrong(reason(cause), cause);
  }
  // Only the certificates: whatever else stands in the file would travel to every sidecar.
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw wrong('it holds no PEM certificate');
  try {
    for (const certificate of found) new X509Certificate(certificate);
  } catch (cause) {
    throw wrong('it holds a certificate that cannot be read', cause);
  }
  return `${found.join('\n')}\n`;
}

function msOf(written: string): number {
  return written.endsWith('ms') ? Number(written.slice(0, -2)) : Number(written.slice(0, -1)) * 1000;
}

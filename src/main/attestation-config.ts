import { resolve } from 'node:path';
import type { Rule, Schema, Values } from '../base/config.ts';
import { optional, withDefault } from '../base/config.ts';
import type { Type } from '../base/config-types.ts';
import { flag, list, path, record, text } from '../base/config-types.ts';
import { AppError } from '../base/errors.ts';
import { checkDocumentUrl } from './documents.ts';

/** Names that become parts of selectors and SPIFFE IDs. */
const name = text({
  form: 'name',
  pattern: /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/,
  hint: 'lower-case letters, digits, dots and dashes',
});
const issuer = text({ form: 'url', hint: 'as in the claim iss' });
const audience = text({ form: 'audience', hint: 'ours alone: whoever else gets such tokens could use them here' });
const account = text({
  form: 'namespace/serviceaccount',
  pattern: /^[a-z0-9][a-z0-9.-]*\/[a-z0-9][a-z0-9.-]*$/,
  hint: 'namespace/serviceaccount',
});

/** Where public keys come from: a file, an address, or what the issuer's discovery document names. */
const keyFields = {
  jwksFile: { type: path, required: false },
  jwksUrl: { type: text({ form: 'url' }), required: false },
  /** PEM: authorities of the server that the keys come from, instead of those of the system. */
  caFile: { type: path, required: false },
} as const;

/** What claims must be: in a file a map from claim to values, in a flag `claim:value;claim:value`. */
const conditions: Type<ReadonlyMap<string, readonly string[]>> = {
  form: 'claim:value;…',
  limit: 'a value that ends in * stands for all that begin so',
  parse(raw, at, problems) {
    const found = new Map<string, readonly string[]>();
    if (raw.kind === 'text') {
      for (const part of raw.value.split(';')) {
        const colon = part.indexOf(':');
        if (colon <= 0) return problems.add(raw.place, at, 'must be written claim:value;claim:value.');
        const claim = part.slice(0, colon);
        found.set(claim, [...(found.get(claim) ?? []), part.slice(colon + 1)]);
      }
    } else if (raw.kind === 'map') {
      for (const { key, value } of raw.entries) {
        const values = list(text({ maxLength: 400 }), { max: 100 }).parse(value, `${at}.${key}`, problems);
        if (values === undefined) return undefined;
        found.set(key, values);
      }
    } else {
      return problems.add(raw.place, at, 'must be a map from claims to values.');
    }
    for (const [claim, values] of found) {
      if (values.length > 0 && values.every((value) => /^[^*]+\*?$/.test(value))) continue;
      problems.add(
        raw.place,
        at,
        `needs values for ${claim}: texts, of which * may be the last character but not the only one.`,
      );
      return undefined;
    }
    if (found.size === 0)
      return problems.add(raw.place, at, 'must not be empty: everybody can be a customer of a provider.');
    return found;
  },
};

/** The settings of `writ server` about how nodes prove what they are. */
export const attestationSchema = {
  'attestation.joinToken': withDefault(flag, 'true', 'Allow nodes to attest by join token'),
  'attestation.x509pop.caFile': optional(
    path,
    'PEM file with the authorities of certificates that machines have already; without it, x509pop is off',
  ),
  'attestation.k8sPsat': withDefault(
    list(
      record({
        cluster: { type: name, required: true },
        issuer: { type: issuer, required: true },
        audience: { type: audience, required: true },
        ...keyFields,
        agents: { type: list(account, { max: 100 }), required: false },
      }),
      { max: 32 },
    ),
    '',
    'A Kubernetes cluster whose projected service-account tokens are taken, and its service accounts that may be agents',
  ),
  'attestation.oidc': withDefault(
    list(
      record({
        provider: { type: name, required: true },
        issuer: { type: issuer, required: true },
        audience: { type: audience, required: true },
        ...keyFields,
        conditions: { type: conditions, required: true },
      }),
      { max: 64 },
    ),
    '',
    'An OpenID provider whose tokens prove what a job is, and what its claims must be',
  ),
} as const satisfies Schema;

/** Where keys are read. */
export type KeyPlace =
  | { readonly file: string }
  | { readonly url: string; readonly caFile: string | undefined }
  /** `<issuer>/.well-known/openid-configuration` */
  | { readonly discovery: string; readonly caFile: string | undefined };

export interface AttestationConfig {
  readonly joinToken: boolean;
  readonly x509pop: { readonly caFile: string } | undefined;
  readonly k8sPsat: readonly {
    readonly cluster: string;
    readonly issuer: string;
    readonly audience: string;
    readonly keys: KeyPlace;
    /** `namespace/serviceaccount` */
    readonly agents: readonly string[];
  }[];
  readonly oidc: readonly {
    readonly provider: string;
    readonly issuer: string;
    readonly audience: string;
    readonly keys: KeyPlace;
    readonly conditions: ReadonlyMap<string, readonly string[]>;
  }[];
}

type Settings = typeof attestationSchema;

export const attestationRules: readonly Rule<Settings>[] = [
  (values, report) => {
    for (const at of ['attestation.k8sPsat', 'attestation.oidc'] as const) {
      const named = (values[at] ?? []).map((each) => ('cluster' in each ? each.cluster : each.provider));
      if (new Set(named).size < named.length) report(at, 'uses a name twice.');
      for (const each of values[at] ?? []) {
        if (each.jwksFile !== undefined && (each.jwksUrl !== undefined || each.caFile !== undefined)) {
          report(at, 'has jwksFile beside jwksUrl or caFile. Give one place for the keys.');
        }
        if (each.jwksFile !== undefined) continue;
        const url = each.jwksUrl ?? each.issuer;
        try {
          checkDocumentUrl(url);
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          report(at, `has its keys at ${JSON.stringify(url)}, which is no https address. Give jwksFile or jwksUrl.`);
        }
      }
    }
  },
];

export function attestationOf(values: Values<Settings>): AttestationConfig {
  const caFile = values['attestation.x509pop.caFile'];
  return Object.freeze({
    joinToken: values['attestation.joinToken'],
    x509pop: caFile === undefined ? undefined : { caFile: resolve(caFile) },
    k8sPsat: values['attestation.k8sPsat'].map((each) => ({
      cluster: each.cluster,
      issuer: each.issuer,
      audience: each.audience,
      keys: keyPlace(each),
      agents: each.agents ?? [],
    })),
    oidc: values['attestation.oidc'].map((each) => ({
      provider: each.provider,
      issuer: each.issuer,
      audience: each.audience,
      keys: keyPlace(each),
      conditions: each.conditions,
    })),
  });
}

function keyPlace(o: {
  readonly issuer: string;
  readonly jwksFile: string | undefined;
  readonly jwksUrl: string | undefined;
  readonly caFile: string | undefined;
}): KeyPlace {
  if (o.jwksFile !== undefined) return { file: resolve(o.jwksFile) };
  const caFile = o.caFile === undefined ? undefined : resolve(o.caFile);
  if (o.jwksUrl !== undefined) return { url: o.jwksUrl, caFile };
  return { discovery: o.issuer, caFile };
}

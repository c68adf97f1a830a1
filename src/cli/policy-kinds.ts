import { AppError } from '../base/errors.ts';
import type { PolicyKind } from '../core/policy/kinds.ts';
import { isPolicyKind, policyKindNames, policyKinds } from '../core/policy/kinds.ts';
import type { PolicyObject } from './api.ts';
import type { Kind } from './kinds.ts';
import type { Column } from './table.ts';
import { labels, relative } from './table.ts';

/** The kinds that are written as documents, kept with their history, and applied from files. */

const REFERENCE = 'NAMESPACE/NAME';

/** What tells the objects of a kind apart, beside their names. */
const specColumns: Readonly<Record<PolicyKind, readonly Column<PolicyObject>[]>> = {
  AuthorizationPolicy: [
    { head: 'ACTION', cell: (p) => p.spec.action ?? 'ALLOW' },
    { head: 'RULES', cell: (p) => String(p.spec.rules?.length ?? 0) },
    { head: 'ENDS', wide: true, cell: (p, now) => relative(p.spec.validity?.notAfter ?? null, now) },
  ],
  RequestAuthentication: [
    { head: 'ISSUERS', cell: (p) => (p.spec.jwtRules ?? []).map(({ issuer }) => issuer).join(',') },
  ],
  PeerAuthentication: [
    { head: 'MODE', cell: (p) => p.spec.mtls?.mode ?? 'UNSET' },
    {
      head: 'PORTS',
      cell: (p) =>
        Object.entries(p.spec.portLevelMtls ?? {})
          .map(([port, { mode }]) => `${port}=${mode ?? 'UNSET'}`)
          .join(','),
    },
  ],
  RateLimit: [
    { head: 'TOTAL', cell: (p) => rate(p.spec.total) },
    { head: 'PER-SOURCE', cell: (p) => rate(p.spec.perSource) },
    { head: 'OVERRIDES', cell: (p) => String(p.spec.overrides?.length ?? 0) },
  ],
};

export const documentKinds = {
  AuthorizationPolicy: kindOf('AuthorizationPolicy'),
  RequestAuthentication: kindOf('RequestAuthentication'),
  PeerAuthentication: kindOf('PeerAuthentication'),
  RateLimit: kindOf('RateLimit'),
} satisfies Readonly<Record<PolicyKind, Kind<PolicyObject>>>;

function kindOf(kind: PolicyKind): Kind<PolicyObject> {
  const { singular, plural } = policyKinds[kind];
  return {
    singular,
    plural,
    reference: REFERENCE,
    path: `/v1/${plural}`,
    namespaced: true,
    labelled: true,
    view: {
      columns: [
        { head: 'NAMESPACE', cell: (p) => p.metadata.namespace },
        { head: 'NAME', cell: (p) => p.metadata.name },
        ...specColumns[kind],
        { head: 'SELECTOR', cell: (p) => labels(p.spec.selector?.matchLabels ?? {}) },
        { head: 'REVISION', cell: (p) => String(p.metadata.revision) },
        { head: 'UPDATED', cell: (p, now) => relative(p.metadata.updatedAt, now) },
        { head: 'BY', cell: (p) => p.metadata.updatedBy },
        { head: 'CREATED', wide: true, cell: (p) => p.metadata.createdAt },
      ],
      name: (p) => `${singular}/${p.metadata.namespace}/${p.metadata.name}`,
      // What `apply` takes back, comments included.
      yaml: (p) => p.source,
    },
    names: (p) => [`${p.metadata.namespace}/${p.metadata.name}`],
    pathOf: (reference) => pathOf(kind, reference),
    deletePath: (p) =>
      `/v1/${plural}/${encodeURIComponent(p.metadata.namespace)}/${encodeURIComponent(p.metadata.name)}`,
    revision: (p) => p.metadata.revision,
    reasons: true,
  };
}

function pathOf(kind: PolicyKind, reference: string): string | undefined {
  const [namespace, name, ...more] = reference.split('/');
  if (!namespace || !name || more.length > 0) return undefined;
  const { noun, plural } = policyKinds[kind];
  // In a URL these are no names but steps: the path would become that of another resource.
  if ([namespace, name].some((part) => part === '.' || part === '..')) {
    throw new AppError(
      'usage',
      `${JSON.stringify(reference)} names no ${noun}: "." and ".." are no names. Give ${REFERENCE}.`,
    );
  }
  return `/v1/${plural}/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}

/** The kind of an object that the server answered with; what it does not know it does not serve. */
export function kindOfObject({ kind }: Pick<PolicyObject, 'kind'>): Kind<PolicyObject> {
  return documentKinds[isPolicyKind(kind) ? kind : 'AuthorizationPolicy'];
}

/** `[KIND/]NAMESPACE/NAME`; without a kind, a policy. */
export const ANY_REFERENCE = `[KIND/]${REFERENCE}`;

export interface Reference {
  readonly kind: PolicyKind;
  /** Of the object at the server. */
  readonly path: string;
  /** As commands name it: `rate-limit/shop/web`. */
  readonly name: string;
}

/** Throws `usage` for what names nothing. */
export function parseReference(text: string): Reference {
  const [first = '', ...rest] = text.split('/');
  const named = rest.length === 2 ? policyKindNames.find((kind) => isNameOf(kind, first)) : 'AuthorizationPolicy';
  const object = rest.length === 2 ? rest.join('/') : text;
  const path = named === undefined ? undefined : pathOf(named, object);
  if (named !== undefined && path !== undefined) {
    return { kind: named, path, name: `${policyKinds[named].singular}/${object}` };
  }
  const known = policyKindNames.map((kind) => policyKinds[kind].singular).join(', ');
  throw new AppError(
    'usage',
    `${JSON.stringify(text)} names no policy. Give ${ANY_REFERENCE}; the kinds are ${known}, and without one it is a policy.`,
  );
}

function isNameOf(kind: PolicyKind, text: string): boolean {
  const { singular, plural } = policyKinds[kind];
  return [singular, plural].includes(text.toLowerCase());
}

function rate(rate: { readonly requests: number; readonly period?: string } | undefined): string {
  return rate === undefined ? '' : `${rate.requests}/${rate.period ?? '1s'}`;
}

import { Argument } from 'commander';
import { AppError } from '../base/errors.ts';
import { didYouMean } from '../base/suggest.ts';
import type {
  EntryObject,
  FederationObject,
  JoinTokenObject,
  NodeObject,
  PageOf,
  ProxyObject,
  QuarantineObject,
  TokenObject,
} from './api.ts';
import { shortName } from './api.ts';
import type { Client } from './client.ts';
import type { View } from './output.ts';
import { documentKinds } from './policy-kinds.ts';
import { labels, relative, span } from './table.ts';

/** One kind of object: where it is, how it is found by what a user types, how it is shown. All commands ask here. */
export interface Kind<T> {
  readonly singular: string;
  readonly plural: string;
  /** How one is named: for usage messages. */
  readonly reference: string;
  readonly path: string;
  readonly view: View<T>;
  /** Whether the list can be limited to a namespace by the server. */
  readonly namespaced: boolean;
  /** Whether the list can be limited by the labels of its objects. */
  readonly labelled: boolean;
  /** Every reference that means `item`, the one that people use first. Texts of the server: not to be trusted. */
  names(item: T): readonly string[];
  /** Path of one, if `reference` alone is enough to build it. */
  pathOf?(reference: string): string | undefined;
  /** Path of one that has been read; absent for a kind that cannot be deleted. */
  deletePath?(item: T): string;
  /** Revision for If-Match. */
  revision?(item: T): number;
  /** Whether its changes say why. */
  readonly reasons?: boolean;
}

const entry: Kind<EntryObject> = {
  singular: 'entry',
  plural: 'entries',
  reference: 'ID or NAMESPACE/SERVICE',
  path: '/v1/entries',
  namespaced: true,
  labelled: true,
  view: {
    columns: [
      { head: 'ID', cell: (e) => e.id },
      { head: 'SPIFFE-ID', cell: (e) => e.spiffeId },
      { head: 'LABELS', cell: (e) => labels(e.labels) },
      { head: 'X509-TTL', cell: (e) => (e.x509TtlSeconds === null ? 'default' : span(e.x509TtlSeconds)) },
      { head: 'JWT-TTL', cell: (e) => (e.jwtTtlSeconds === null ? 'default' : span(e.jwtTtlSeconds)) },
      { head: 'AGE', cell: (e, now) => relative(e.createdAt, now) },
      { head: 'PARENT', wide: true, cell: (e) => (e.parentId === null ? '' : shortParent(e.parentId)) },
      { head: 'SELECTORS', wide: true, cell: (e) => e.selectors.join(',') },
      { head: 'EXPIRES', wide: true, cell: (e, now) => relative(e.expiresAt, now) },
      { head: 'HINT', wide: true, cell: (e) => e.hint },
      { head: 'REVISION', wide: true, cell: (e) => String(e.revision) },
    ],
    name: (e) => `entry/${e.id}`,
  },
  names: (e) => [shortName(e.spiffeId), e.id, e.spiffeId],
  pathOf: (reference) => (isUuid(reference) ? `/v1/entries/${reference}` : undefined),
  deletePath: (e) => `/v1/entries/${encodeURIComponent(e.id)}`,
  revision: (e) => e.revision,
};

/** With what an operator should not overlook. */
function stateOfProxy({ state, quarantined, plainTextPorts = [] }: ProxyObject): string {
  const plain = plainTextPorts.length === 0 ? [] : [`PLAIN TEXT on ${plainTextPorts.join(',')}`];
  return [state, ...(quarantined ? ['quarantined'] : []), ...plain].join(', ');
}

/** Whether what is shown of its calls is all there is, and what it has admitted not to have. */
function recordOfProxy({ record }: ProxyObject, now: number): string {
  if (record === undefined || record === null) return '';
  const { staleSince, gaps } = record;
  const freshness = staleSince === null ? 'fresh' : `SILENT for ${relative(staleSince, now)}`;
  return gaps === 0 ? freshness : `${freshness}, ${gaps} ${gaps === 1 ? 'gap' : 'gaps'}`;
}

const proxy: Kind<ProxyObject> = {
  singular: 'proxy',
  plural: 'proxies',
  reference: 'INSTANCE or NAMESPACE/SERVICE',
  path: '/v1/proxies',
  namespaced: false,
  labelled: false,
  view: {
    columns: [
      { head: 'WORKLOAD', cell: (p) => shortName(p.spiffeId) },
      { head: 'STATE', cell: stateOfProxy },
      { head: 'REVISION', cell: (p) => `${p.acknowledgedRevision ?? '-'}/${p.desiredRevision}` },
      { head: 'STALE', cell: (p, now) => relative(p.staleSince, now) },
      { head: 'CHANGE', cell: (p) => (p.desiredChange === null ? '' : String(p.desiredChange)) },
      { head: 'LAST-SEEN', cell: (p, now) => relative(p.lastSeen, now) },
      { head: 'RECORD', cell: recordOfProxy },
      { head: 'ENDPOINTS', cell: (p) => p.endpoints.join(',') },
      { head: 'VERSION', cell: (p) => p.version },
      { head: 'INSTANCE', cell: (p) => p.instanceId },
      { head: 'ERROR', cell: (p) => p.lastError ?? '' },
      { head: 'SPIFFE-ID', wide: true, cell: (p) => p.spiffeId },
    ],
    name: (p) => `proxy/${p.instanceId}`,
  },
  names: (p) => [shortName(p.spiffeId), p.instanceId, p.spiffeId],
};

const quarantine: Kind<QuarantineObject> = {
  singular: 'quarantine',
  plural: 'quarantines',
  reference: 'ID, SPIFFE ID or NAMESPACE/SERVICE',
  path: '/v1/quarantines',
  namespaced: false,
  labelled: false,
  view: {
    columns: [
      { head: 'IDENTITY', cell: (q) => shortName(q.spiffeId) },
      { head: 'SINCE', cell: (q, now) => relative(q.createdAt, now) },
      { head: 'BY', cell: (q) => q.author },
      { head: 'REASON', cell: (q) => q.reason },
      { head: 'OBEYED', cell: (q) => `${q.enforcement.obeying}/${q.enforcement.connected}` },
      { head: 'RELEASED', cell: (q, now) => relative(q.released?.at ?? null, now) },
      { head: 'ID', wide: true, cell: (q) => q.id },
      { head: 'SPIFFE-ID', wide: true, cell: (q) => q.spiffeId },
      { head: 'RELEASED-BY', wide: true, cell: (q) => q.released?.author ?? '' },
      { head: 'WHY-RELEASED', wide: true, cell: (q) => q.released?.reason ?? '' },
    ],
    name: (q) => `quarantine/${q.id}`,
  },
  names: (q) => [q.spiffeId, shortName(q.spiffeId), q.id],
  pathOf: (reference) => (isUuid(reference) ? `/v1/quarantines/${reference}` : undefined),
};

const joinToken: Kind<JoinTokenObject> = {
  singular: 'join-token',
  plural: 'join-tokens',
  reference: 'ID',
  path: '/v1/join-tokens',
  namespaced: false,
  labelled: false,
  view: {
    columns: [
      { head: 'ID', cell: (t) => t.id },
      { head: 'ENTRY', cell: (t) => t.entryId ?? 'agent' },
      { head: 'AGE', cell: (t, now) => relative(t.createdAt, now) },
      { head: 'EXPIRES', cell: (t, now) => relative(t.expiresAt, now) },
      { head: 'USED', cell: (t, now) => relative(t.usedAt, now) },
      { head: 'CREATED', wide: true, cell: (t) => t.createdAt },
    ],
    name: (t) => `join-token/${t.id}`,
  },
  names: (t) => [t.id],
  deletePath: (t) => `/v1/join-tokens/${encodeURIComponent(t.id)}`,
};

const node: Kind<NodeObject> = {
  singular: 'node',
  plural: 'nodes',
  reference: 'INSTANCE or SPIFFE ID',
  path: '/v1/nodes',
  namespaced: false,
  labelled: false,
  view: {
    columns: [
      { head: 'NODE', cell: (n) => shortName(n.spiffeId) },
      { head: 'KIND', cell: (n) => n.kind },
      { head: 'METHOD', cell: (n) => n.method },
      { head: 'STATE', cell: (n, now) => stateOf(n, now) },
      { head: 'ATTESTED', cell: (n, now) => relative(n.attestedAt, now) },
      { head: 'LAST-SEEN', cell: (n, now) => relative(n.lastSeen, now) },
      { head: 'EXPIRES', cell: (n, now) => relative(n.expiresAt, now) },
      { head: 'INSTANCE', cell: (n) => n.instanceId },
      { head: 'SELECTORS', wide: true, cell: (n) => n.selectors.join(',') },
      { head: 'SERIAL', wide: true, cell: (n) => n.serial },
    ],
    name: (n) => `node/${n.instanceId}`,
  },
  names: (n) => [n.instanceId, n.spiffeId, shortName(n.spiffeId)],
};

function stateOf(node: NodeObject, now: number): string {
  if (node.banned) return 'banned';
  return Date.parse(node.expiresAt) < now ? 'expired' : 'welcome';
}

const federation: Kind<FederationObject> = {
  singular: 'federation',
  plural: 'federations',
  reference: 'TRUST DOMAIN',
  path: '/v1/federation',
  namespaced: false,
  labelled: false,
  view: {
    columns: [
      { head: 'TRUST-DOMAIN', cell: (f) => f.trustDomain },
      { head: 'PROFILE', cell: (f) => f.bundleEndpoint.profile },
      { head: 'BUNDLE', cell: (f) => bundleStateOf(f) },
      { head: 'SEQUENCE', cell: (f) => f.bundle.sequence ?? '-' },
      { head: 'CHECKED', cell: (f, now) => relative(f.bundle.checkedAt, now) },
      { head: 'SERVICES', cell: (f) => String(f.services.length) },
      { head: 'ERROR', cell: (f) => f.bundle.lastError ?? '' },
      { head: 'URL', wide: true, cell: (f) => f.bundleEndpoint.url },
      { head: 'CHANGED', wide: true, cell: (f, now) => relative(f.bundle.fetchedAt, now) },
      { head: 'REVISION', wide: true, cell: (f) => String(f.revision) },
    ],
    name: (f) => `federation/${f.trustDomain}`,
  },
  names: (f) => [f.trustDomain],
  pathOf: (reference) =>
    // In a URL "." and ".." are no names but steps: the path would become that of another resource.
    /^[a-z0-9._-]{1,255}$/.test(reference) && !/^\.{1,2}$/.test(reference) ? `/v1/federation/${reference}` : undefined,
  deletePath: (f) => `/v1/federation/${encodeURIComponent(f.trustDomain)}`,
  revision: (f) => f.revision,
};

/** Whether its identities can be verified now. */
function bundleStateOf({ bundle }: FederationObject): string {
  if (bundle.fetchedAt === null) return 'none';
  if (bundle.roots.length === 0 && bundle.jwtKeys.length === 0) return 'revoked';
  return bundle.lastError === null ? 'fresh' : 'stale';
}

const token: Kind<TokenObject> = {
  singular: 'token',
  plural: 'tokens',
  reference: 'ID',
  path: '/v1/tokens',
  namespaced: false,
  labelled: false,
  view: {
    columns: [
      { head: 'ID', cell: (t) => t.id },
      { head: 'NAME', cell: (t) => t.name },
      { head: 'ROLE', cell: (t) => t.role },
      { head: 'AGE', cell: (t, now) => relative(t.createdAt, now) },
      { head: 'EXPIRES', cell: (t, now) => relative(t.expiresAt, now) },
      { head: 'USED', cell: (t, now) => relative(t.lastUsedAt, now) },
      { head: 'CREATED', wide: true, cell: (t) => t.createdAt },
    ],
    name: (t) => `token/${t.id}`,
  },
  names: (t) => [t.id],
  deletePath: (t) => `/v1/tokens/${encodeURIComponent(t.id)}`,
};

export const kinds = {
  policy: documentKinds.AuthorizationPolicy,
  requestAuthentication: documentKinds.RequestAuthentication,
  peerAuthentication: documentKinds.PeerAuthentication,
  rateLimit: documentKinds.RateLimit,
  entry,
  proxy,
  quarantine,
  joinToken,
  node,
  federation,
  token,
} as const;

/** A kind whose objects are only passed on, never looked into. */
export type AnyKind = Kind<unknown>;

const all = Object.values(kinds) as unknown as readonly AnyKind[];

export const kindNames: readonly string[] = all.map((kind) => kind.plural);

/** Those of which one can be deleted. */
export const deletableKinds: readonly string[] = all
  .filter((kind) => kind.deletePath !== undefined)
  .map((kind) => kind.singular);

/** `<kind>` on a command line; `known` are completed and listed by --help, and `parseKind` judges what is given. */
export function kindArgument(known: readonly string[]): Argument {
  const argument = new Argument('<kind>');
  argument.argChoices = [...known];
  return argument;
}

/** By its singular or plural. Throws `usage` for an unknown one. */
export function parseKind(text: string): AnyKind {
  const word = text.toLowerCase();
  const found = all.find((kind) => kind.singular === word || kind.plural === word);
  if (found !== undefined) return found;
  const known = all.flatMap((kind) => [kind.plural, kind.singular]);
  throw new AppError(
    'usage',
    `There is no kind ${JSON.stringify(text)}; there are ${kindNames.join(', ')}.${didYouMean(word, known)}`,
  );
}

/** What limits a list. */
export interface Limits {
  readonly namespace?: string | undefined;
  /** A selector of labels as Kubernetes writes them: `app=web,tier!=test`. */
  readonly selector?: string | undefined;
  /** Filters that only this kind has, as the server calls them. */
  readonly more?: Readonly<Record<string, string>> | undefined;
}

/** Every object of a kind, page by page. Throws `usage` for a selector where objects have no labels. */
export async function listAll<T>(client: Client, kind: Kind<T>, limits: Limits): Promise<readonly T[]> {
  const { namespace, selector } = limits;
  if (selector !== undefined && !kind.labelled) {
    throw new AppError(
      'usage',
      `${capital(kind.plural)} have no labels, so -l cannot select among them. Leave it out.`,
    );
  }
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const query = {
      ...(kind.namespaced && namespace !== undefined && { namespace }),
      ...(selector !== undefined && { labelSelector: selector }),
      ...limits.more,
      limit: 500,
      cursor,
    };
    const { body } = await client.call<PageOf<T>>({ method: 'GET', path: kind.path, query });
    items.push(...body.items);
    cursor = body.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return items;
}

/** The one object that `reference` means. Throws `not-found`, or `conflict` when it means several. */
export async function findOne<T>(client: Client, kind: Kind<T>, reference: string): Promise<T> {
  const path = kind.pathOf?.(reference);
  if (path !== undefined) return (await client.call<T>({ method: 'GET', path })).body;
  const namespace = /^([a-z0-9][-a-z0-9]*)\/[^/]+$/.exec(reference)?.[1];
  const found = (await listAll(client, kind, { namespace })).filter((item) => kind.names(item).includes(reference));
  const [first, ...others] = found;
  if (first === undefined) {
    throw new AppError(
      'not-found',
      `There is no ${kind.singular} ${JSON.stringify(reference)}; it is named by ${kind.reference}. List what there is: writ get ${kind.plural}`,
    );
  }
  if (others.length > 0) {
    const names = found.map((item) => kind.view.name(item).replace(/^[^/]+\//, '')).join(', ');
    throw new AppError('conflict', `${reference} means ${found.length} ${kind.plural}: ${names}. Name one of them.`);
  }
  return first;
}

/** The path says it all: a parent is of our own trust domain. */
function shortParent(spiffeId: string): string {
  return spiffeId.replace(/^spiffe:\/\/[^/]+/, '');
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);
}

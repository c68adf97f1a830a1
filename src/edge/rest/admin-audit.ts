import type { FastifyReply, FastifyRequest } from 'fastify';
import { AppError, toAppError } from '../../base/errors.ts';
import type { AdminFacts } from '../../control/ledger/admin-recorder.ts';
import type { AdminTrail } from '../../control/ledger/admin-trail.ts';
import { changeOf } from '../../core/audit/admin-change.ts';
import { changesNothing } from '../../core/identity/roles.ts';
import type { Before, ChangesDeps } from './admin-changes.ts';
import { before, changed } from './admin-changes.ts';
import type { App } from './app.ts';
import { permissionOf, routeOf } from './permissions.ts';

export type TrailPort = Pick<AdminTrail, 'begin' | 'end' | 'read' | 'refuse' | 'signIn'>;

/** What is known of a request while it is carried out. */
interface Progress {
  /** Its parameters have passed their schema: nothing in them is unknown. */
  understood: boolean;
  /** Of a write whose beginning is on the record. */
  before?: Before;
  /** As its answer says. */
  revision?: number;
  ended: boolean;
}

/**
 * Puts every request of an administrator on the record, and those of whoever did not prove to be one: writes before they are
 * carried out and again before they are answered, everything else before it is answered. A write that cannot be recorded is
 * refused with `audit-unavailable`. Routes that need no token are not recorded, and no body ever is.
 */
export function recordCalls(app: App, deps: ChangesDeps & { readonly trail: TrailPort }): void {
  const progress = new WeakMap<FastifyRequest, Progress>();
  const of = (request: FastifyRequest): Progress => {
    const known = progress.get(request) ?? { understood: false, ended: false };
    progress.set(request, known);
    return known;
  };

  // Behind authentication, permission and validation: what comes here is carried out unless it contradicts what there is.
  app.addHook('preHandler', async (request) => {
    if (request.administrator === null) return;
    const known = of(request);
    known.understood = !request.is404;
    if (request.is404 || !isWrite(request)) return;
    const [was] = await Promise.all([
      before(deps, pathOf(request)),
      deps.trail.begin({ ...factsOf(request, known.understood), request: request.id }),
      deps.trail.signIn(whoIs(request)),
    ]);
    known.before = was;
  });

  app.addHook('preSerialization', async (request, _reply, payload) => {
    const revision = revisionOf(payload);
    if (revision !== undefined) of(request).revision = revision;
    return payload;
  });

  app.addHook('onSend', async (request, reply, payload) => {
    const known = of(request);
    if (known.ended) return payload;
    known.ended = true;
    const answer = { status: reply.statusCode, reason: reasonOf(reply.statusCode, payload) };
    if (request.administrator === null) await refusal(deps.trail, request, answer);
    else if (known.before === undefined) await reading(deps.trail, request, known, answer);
    else await ending(deps, request, reply, { ...known, before: known.before }, answer);
    return payload;
  });
}

interface Answer {
  readonly status: number;
  readonly reason: string;
}

/** Of somebody who is nobody: a wrong token, or none; a page of another site. Never what they asked for, which anybody can choose. */
async function refusal(trail: TrailPort, request: FastifyRequest, { status, reason }: Answer): Promise<void> {
  if (status !== 401 && status !== 403) return;
  const first = { request: request.id, reason };
  await trail.refuse({ source: request.ip, status, permission: neededBy(request) ?? '' }, first);
}

async function reading(trail: TrailPort, request: FastifyRequest, known: Progress, answer: Answer): Promise<void> {
  const { status, reason } = answer;
  const facts = { ...factsOf(request, known.understood), status, outcome: outcomeOf(status) };
  await Promise.all([trail.signIn(whoIs(request)), trail.read(facts, { request: request.id, reason })]);
}

async function ending(
  deps: ChangesDeps & { readonly trail: TrailPort },
  request: FastifyRequest,
  reply: FastifyReply,
  known: Progress & { readonly before: Before },
  { status, reason }: Answer,
): Promise<void> {
  const path = status === 201 ? String(reply.getHeader('location') ?? pathOf(request)) : pathOf(request);
  const revision = known.revision ?? revisionOfTag(reply.getHeader('etag'));
  const change =
    status < 400 ? await changed(deps, known.before, { path, revision }).catch(() => undefined) : undefined;
  const facts: AdminFacts = {
    ...factsOf(request, true),
    ...(change !== undefined && changeOf(change)),
    outcome: outcomeOf(status),
    object: path,
    request: request.id,
    status,
    reason,
  };
  try {
    await deps.trail.end(facts);
  } catch (error) {
    // What was refused stays refused, on the record or not yet.
    if (status >= 400) return;
    for (const name of ['etag', 'location', 'idempotency-replayed']) reply.removeHeader(name);
    throw new AppError(
      'audit-unavailable',
      'This was carried out, but the audit ledger of the control plane could not be written afterwards: the record says that it was begun, and how it ended as soon as that is possible. Read what there is before you send it again.',
      { cause: toAppError(error).cause ?? error },
    );
  }
}

function factsOf(request: FastifyRequest, understood: boolean): Omit<AdminFacts, 'outcome'> {
  return {
    action: 'call',
    ...whoIs(request),
    operation: operationOf(request),
    permission: neededBy(request) ?? '',
    object: pathOf(request),
    query: understood ? queryOf(request) : '',
  };
}

function whoIs({ administrator, ip }: FastifyRequest) {
  const { name: actor = '', role = '', credential = '' } = administrator ?? {};
  return { actor, role, credential, source: ip };
}

function neededBy(request: FastifyRequest): string | undefined {
  return request.is404 ? undefined : permissionOf.get(routeOf(request.method, request.routeOptions.url) ?? '');
}

/** As the API document calls it; where it does not, the method. */
function operationOf(request: FastifyRequest): string {
  const schema = request.routeOptions.schema as { readonly operationId?: string } | undefined;
  return schema?.operationId ?? request.method;
}

/** A dry run is none. Only where a route's schema knows of dry runs is the text of the query read as a boolean. */
function isWrite(request: FastifyRequest): boolean {
  const permission = permissionOf.get(routeOf(request.method, request.routeOptions.url) ?? '');
  const reads = permission === undefined ? ['GET', 'HEAD'].includes(request.method) : changesNothing(permission);
  return !reads && !(isRecord(request.query) && request.query.dryRun === true);
}

/** The tiles of a log are read by the thousand, and are one thing. */
function pathOf(request: FastifyRequest): string {
  const route = request.routeOptions.url;
  if (route?.endsWith('/*') === true) return route;
  const path = request.url.split('?', 1)[0] ?? '';
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Without cursors: the pages of a list are one search. */
function queryOf({ query }: FastifyRequest): string {
  if (!isRecord(query)) return '';
  const given = Object.entries(query).filter(([name]) => name !== 'cursor');
  return given.map(([name, value]) => `${name}=${String(value)}`).join('&');
}

function outcomeOf(status: number): 'done' | 'refused' | 'failed' {
  if (status < 400) return 'done';
  return status < 500 ? 'refused' : 'failed';
}

function reasonOf(status: number, payload: unknown): string {
  if (status < 400 || typeof payload !== 'string') return '';
  try {
    const { code, detail } = JSON.parse(payload) as { readonly code?: unknown; readonly detail?: unknown };
    return `${String(code)}: ${String(detail)}`;
  } catch {
    return '';
  }
}

/** Of a policy, of a change, of a deletion. */
function revisionOf(payload: unknown): number | undefined {
  if (!isRecord(payload)) return undefined;
  const said = isRecord(payload.metadata) ? payload.metadata.revision : payload.revision;
  return typeof said === 'number' ? said : undefined;
}

function revisionOfTag(tag: unknown): number | undefined {
  const revision = /^"(\d{1,15})"$/.exec(String(tag ?? ''))?.[1];
  return revision === undefined ? undefined : Number(revision);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

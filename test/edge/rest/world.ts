import { createHash, generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import type { InjectOptions, LightMyRequestResponse } from 'fastify';
import { pino } from 'pino';
import { expect, onTestFinished } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { Logger } from '../../../src/base/log.ts';
import type { RandomBytes } from '../../../src/base/random.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { IdempotencyKeys } from '../../../src/control/access/idempotency.ts';
import { NamedTokens } from '../../../src/control/access/named-tokens.ts';
import { AdminTokens } from '../../../src/control/access/tokens.ts';
import { JoinTokens } from '../../../src/control/authority/attest/join-token.ts';
import { Authority } from '../../../src/control/authority/authority.ts';
import { MemoryAuthorities } from '../../../src/control/authority/authority-store.ts';
import { Entries } from '../../../src/control/authority/entries/entries.ts';
import { EntrySet } from '../../../src/control/authority/entries/entry-set.ts';
import { FederatedBundles } from '../../../src/control/authority/federation/federated-bundles.ts';
import { Federation } from '../../../src/control/authority/federation/federation.ts';
import type { FetchBundle } from '../../../src/control/authority/federation/poller.ts';
import { BundlePoller } from '../../../src/control/authority/federation/poller.ts';
import { MemoryKeyStore } from '../../../src/control/authority/keys/key-store.ts';
import { Nodes } from '../../../src/control/authority/nodes/nodes.ts';
import { Rotation } from '../../../src/control/authority/rotation.ts';
import { AdminTrail } from '../../../src/control/ledger/admin-trail.ts';
import { ChangeViews } from '../../../src/control/policies/changes/change-views.ts';
import type { ChangesOptions } from '../../../src/control/policies/changes/changes.ts';
import { Changes } from '../../../src/control/policies/changes/changes.ts';
import { DirectWrites } from '../../../src/control/policies/changes/direct-writes.ts';
import { Protection } from '../../../src/control/policies/changes/protection.ts';
import { PolicyHistory } from '../../../src/control/policies/history.ts';
import { Planner } from '../../../src/control/policies/plan.ts';
import { PlanReceipts } from '../../../src/control/policies/plan-receipts.ts';
import { Quarantines } from '../../../src/control/policies/quarantines.ts';
import { RevisionTexts } from '../../../src/control/policies/revision-texts.ts';
import { PolicyStore } from '../../../src/control/policies/store.ts';
import { Suggestions } from '../../../src/control/policies/suggest.ts';
import type { ProxyStatus } from '../../../src/control/registry/proxies.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { openStore } from '../../../src/control/store/store.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { jwtKey } from '../../../src/core/identity/bundle.ts';
import type { ListenOptions, RestDeps, RunningServer } from '../../../src/edge/rest/server.ts';
import { createRestServer, createRoutes } from '../../../src/edge/rest/server.ts';
import type { ListAdminRecorder } from '../../support/admin-recorder.ts';
import { listAdminRecorder } from '../../support/admin-recorder.ts';
import { openTestLog } from '../../support/audit-log.ts';
import { FakeClock } from '../../support/clock.ts';
import type { ListRecorder } from '../../support/recorder.ts';
import { listRecorder } from '../../support/recorder.ts';
import { tempDirectory } from '../../support/temp.ts';
import { ScriptedAudit } from './audit.ts';
import { Contract } from './contract.ts';

export const TRUST_DOMAIN = 'example.org';

/** The REST face over the real control classes on a database of its own; only the ledger is scripted. */
export interface World {
  readonly deps: RestDeps;
  readonly clock: FakeClock;
  readonly audit: ScriptedAudit;
  readonly proxies: ProxyStatus[];
  readonly bundle: WatchSource<TrustBundle>;
  readonly store: Store;
  readonly entries: Entries;
  readonly policies: PolicyStore;
  readonly nodes: Nodes;
  readonly recorder: ListRecorder;
  /** What administrators did. */
  readonly admin: ListAdminRecorder;
  /** What the bundle endpoints of others answer. */
  readonly partner: ScriptedPartner;
  /** Valid; null in a request's `authorization` leaves the header out. */
  readonly token: string;
  readonly logLines: Record<string, unknown>[];
  /** With a valid token and Host unless the request says otherwise; every answer is held against the OpenAPI document. */
  request(options: Ask): Promise<LightMyRequestResponse>;
  listen(options?: Partial<ListenOptions>): Promise<RunningServer>;
}

export class ScriptedPartner {
  answer: () => Promise<Buffer> = async () => {
    throw new AppError('unavailable', 'The bundle endpoint could not be reached.');
  };
  readonly asked: string[] = [];
  readonly fetch: FetchBundle = async (url) => {
    this.asked.push(url);
    return await this.answer();
  };
}

export type Ask = Omit<InjectOptions, 'headers'> & {
  readonly headers?: Readonly<Record<string, string | null>>;
};

export async function createWorld(
  options: {
    readonly host?: string;
    readonly deps?: Partial<RestDeps>;
    /** What namespaces ask of changes. Default: nothing. */
    readonly changes?: Pick<ChangesOptions, 'plans'> & Partial<Pick<ChangesOptions, 'protection'>>;
  } = {},
): Promise<World> {
  const directory = await tempDirectory();
  const clock = new FakeClock();
  const { logger, lines } = recordingLogger();
  const random = countingRandom();
  const store = await openStore({ kind: 'sqlite', path: join(directory, 'writ.db') }, { clock, logger, random });
  const policies = await PolicyStore.open({ store, clock, logger });
  const entries = new Entries({ store, trustDomain: TRUST_DOMAIN, clock, random });
  const joinTokens = new JoinTokens({ store, clock, random });
  const recorder = listRecorder();
  const admin = listAdminRecorder(clock);
  const trail = new AdminTrail({ recorder: admin, clock, logger });
  const nodes = await Nodes.open({ store, recorder, clock, logger });
  const idempotency = new IdempotencyKeys({ store, clock, random });
  const tokenFile = join(directory, 'admin-token');
  const token = `writ_${Buffer.alloc(32, 0xb6).toString('base64url')}`;
  const tokens = await AdminTokens.open({ file: tokenFile, random: (length) => Buffer.alloc(length, 0xb6) });
  const namedTokens = new NamedTokens({ store, clock, random });
  const authorities = new MemoryAuthorities();
  const keyStore = new MemoryKeyStore();
  const authority = await Authority.open({ trustDomain: TRUST_DOMAIN, store: authorities, keyStore, clock, logger });
  const common = { store: authorities, keyStore, followers: [], recorder, clock, logger };
  const rotation = new Rotation({ ...common, authority });
  const federation = new Federation({ store, trustDomain: TRUST_DOMAIN, clock, recorder });
  const federated = await FederatedBundles.open({ store, clock, logger });
  const bundle = new WatchSource(makeBundle());
  const partner = new ScriptedPartner();
  const poller = new BundlePoller({ store, federated, bundle, fetch: partner.fetch, recorder, clock, logger, random });
  const proxies: ProxyStatus[] = [];
  const audit = new ScriptedAudit();
  const { protection = new Protection({ rootNamespace: 'writ-system' }), ...plans } = options.changes ?? {};
  const entrySet = await EntrySet.open({ store, trustDomain: TRUST_DOMAIN, clock, logger });
  const seen = { store, policies: policies.current, entries: entrySet, trustDomain: TRUST_DOMAIN };
  const planning = { ...seen, rootNamespace: 'writ-system', clock };
  const receipts = new PlanReceipts({ store, clock });
  const deps: RestDeps = {
    planner: new Planner({ ...planning, receipts }),
    suggestions: new Suggestions(planning),
    policies: new DirectWrites({ policies, protection, ...plans }),
    changes: new Changes({ store, policies, protection, clock, logger, ...plans }),
    changeViews: new ChangeViews({ store, clock }),
    history: new PolicyHistory(store),
    entries,
    joinTokens,
    nodes,
    quarantines: new Quarantines({ store, trustDomain: TRUST_DOMAIN, clock, recorder, random }),
    authorities: rotation,
    federation,
    poller,
    idempotency,
    proxies: { list: () => proxies },
    cursors: store.cursors,
    audit,
    trail,
    revisionTexts: new RevisionTexts(store),
    log: (await openTestLog()).log,
    bundle,
    tokens: { authenticate: async (token) => tokens.authenticate(token) ?? (await namedTokens.authenticate(token)) },
    namedTokens,
    clock,
    logger,
    random,
    info: { version: '0.1.0', addresses: { gRPC: '127.0.0.1:8444' }, tokenFile: '/somewhere/admin-token' },
    ...options.deps,
  };
  const stopping = new AbortController();
  const host = options.host ?? '127.0.0.1';
  const { app } = await createRoutes(deps, { host, port: 8080, stopping: stopping.signal });
  const contract = new Contract(app.swagger());
  onTestFinished(async () => {
    stopping.abort();
    await app.close();
    await nodes.close();
    federated.close();
    await policies.close();
    entrySet.close();
    await store.close();
  });

  return {
    deps,
    clock,
    audit,
    proxies,
    bundle,
    store,
    entries,
    policies,
    nodes,
    recorder,
    admin,
    partner,
    token,
    logLines: lines,
    async request({ headers, ...ask }) {
      const all = { host: '127.0.0.1:8080', authorization: `Bearer ${token}`, ...headers };
      const kept = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== null);
      const response = await app.inject({ ...ask, headers: Object.fromEntries(kept) });
      contract.check(String(ask.method ?? 'GET'), String(ask.url), response);
      return response;
    },
    async listen(where = {}) {
      const server = await createRestServer(deps, { host: '127.0.0.1', port: 0, ...where });
      onTestFinished(() => server.close());
      return server;
    },
  };
}

/** Asserts that the answer is a whole problem of this status and code; returns its body. */
export function expectProblem(response: LightMyRequestResponse, status: number, code: string): ProblemJson {
  const body = response.json<ProblemJson>();
  expect({ status: response.statusCode, type: response.headers['content-type'], code: body.code }).toEqual({
    status,
    type: 'application/problem+json; charset=utf-8',
    code,
  });
  expect(body.status).toBe(status);
  expect(body.title).not.toBe('');
  expect(body.detail).toMatch(/\S/);
  expect(body.requestId).toBe(response.headers['x-request-id']);
  expect(body.instance).toBe(`urn:uuid:${body.requestId}`);
  return body;
}

export interface ProblemJson {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly instance: string;
  readonly code: string;
  readonly requestId: string;
  readonly errors?: readonly { code: string; detail: string; pointer?: string; line?: number; column?: number }[];
}

export function policyText(name: string, o: { namespace?: string; action?: string; path?: string } = {}): string {
  return `apiVersion: writ.dev/v1
kind: AuthorizationPolicy
metadata:
  name: ${name}
  namespace: ${o.namespace ?? 'shop'}
spec:
  action: ${o.action ?? 'ALLOW'}
  rules:
    - from:
        - source:
            principals: ["${TRUST_DOMAIN}/ns/shop/sa/web"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["${o.path ?? '/*'}"]
`;
}

function makeBundle(): TrustBundle {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { trustDomain: TRUST_DOMAIN, roots: [], jwks: { keys: [jwtKey(publicKey, 'key-1')] }, sequence: 3 };
}

/** Deterministic, so that ids in goldens stay. */
export function countingRandom(): RandomBytes {
  let count = 0;
  return (length) => {
    count += 1;
    const block = createHash('sha256').update(`random ${count}`).digest();
    return Buffer.concat(Array.from({ length: Math.ceil(length / block.length) }, () => block)).subarray(0, length);
  };
}

function recordingLogger(): { logger: Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const logger = pino({ level: 'info', base: null }, { write: (text: string) => void lines.push(JSON.parse(text)) });
  return { logger, lines };
}

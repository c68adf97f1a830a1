import type { AddressInfo } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import type { IdempotencyKeys } from '../../control/access/idempotency.ts';
import type { NamedTokens } from '../../control/access/named-tokens.ts';
import type { JoinTokens } from '../../control/authority/attest/join-token.ts';
import type { Entries } from '../../control/authority/entries/entries.ts';
import type { AuditIndex } from '../../control/ledger/index.ts';
import type { AuditLog } from '../../control/ledger/log/audit-log.ts';
import type { SidecarRecords } from '../../control/ledger/sidecar-records.ts';
import type { SinkStatus } from '../../control/ledger/sinks/sink.ts';
import type { PolicyHistory } from '../../control/policies/history.ts';
import type { Quarantines } from '../../control/policies/quarantines.ts';
import type { RevisionTexts } from '../../control/policies/revision-texts.ts';
import type { PolicyStore } from '../../control/policies/store.ts';
import type { Proxies, ProxyStatus } from '../../control/registry/proxies.ts';
import type { Cursors } from '../../control/store/page.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { TrailPort } from './admin-audit.ts';
import { recordCalls } from './admin-audit.ts';
import type { App } from './app.ts';
import { createApp } from './app.ts';
import { audit } from './audit.ts';
import { adminAudit } from './audit-admin.ts';
import { auditBatches } from './audit-batches.ts';
import { identityAudit } from './audit-identity.ts';
import { auditIndex } from './audit-index.ts';
import { auditLog } from './audit-log.ts';
import { auditSinks } from './audit-sinks.ts';
import type { AuthoritiesPort } from './authorities.ts';
import { authorities } from './authorities.ts';
import { bundle } from './bundle.ts';
import { Connections } from './connections.ts';
import { docs } from './docs.ts';
import { entries } from './entries.ts';
import { entriesImport } from './entries-import.ts';
import type { FederationDeps } from './federation.ts';
import { federation } from './federation.ts';
import type { TokensPort } from './guard.ts';
import { guard } from './guard.ts';
import type { ServerInfo } from './info.ts';
import { info } from './info.ts';
import { joinTokens } from './join-tokens.ts';
import type { TokenKeysPort } from './key-status.ts';
import { log } from './log.ts';
import type { NodeClocks, NodesPort } from './nodes.ts';
import { nodes } from './nodes.ts';
import { describe, openapi } from './openapi.ts';
import { page } from './page.ts';
import { policies } from './policies.ts';
import type { PolicyChangesDeps } from './policy-changes.ts';
import { policyChanges } from './policy-changes.ts';
import { policyCheck } from './policy-check.ts';
import type { PolicyPlanDeps } from './policy-plan.ts';
import { policyPlan } from './policy-plan.ts';
import { policyRevisions } from './policy-revisions.ts';
import type { PolicySuggestDeps } from './policy-suggest.ts';
import { policySuggest } from './policy-suggest.ts';
import { proxies } from './proxies.ts';
import { quarantines } from './quarantines.ts';
import { EventStreams } from './sse.ts';
import { tokens } from './tokens.ts';
import { whoami } from './whoami.ts';
import { logWrites } from './writes.ts';

export interface RestDeps
  extends FederationDeps,
    PolicyChangesDeps,
    Omit<PolicyPlanDeps, 'clock'>,
    Omit<PolicySuggestDeps, 'clock'> {
  readonly policies: Pick<PolicyStore, 'put' | 'get' | 'list' | 'delete' | 'rollBack' | 'current'>;
  readonly history: Pick<PolicyHistory, 'list' | 'get'>;
  readonly entries: Pick<Entries, 'create' | 'update' | 'get' | 'list' | 'delete' | 'bySpiffeId' | 'importSpire'>;
  readonly joinTokens: Pick<JoinTokens, 'create' | 'list' | 'delete'>;
  readonly nodes: NodesPort;
  /** How far the clocks of nodes are off. Default: nobody knows. */
  readonly nodeClocks?: readonly NodeClocks[];
  readonly quarantines: Pick<Quarantines, 'put' | 'release' | 'get' | 'list'>;
  /** Whether an identity is in quarantine. Default: none is. */
  readonly inQuarantine?: (spiffeId: string) => boolean;
  /** Ports at which a sidecar lets plain text in. Default: none. */
  readonly plainTextPorts?: (status: ProxyStatus) => readonly number[];
  /** How fresh the records of sidecars are. Default: nobody knows. */
  readonly records?: Pick<SidecarRecords, 'of'>;
  /** Keys of those who issue tokens to end users. Default: nothing is known of those that are fetched. */
  readonly tokenKeys?: TokenKeysPort;
  readonly authorities: AuthoritiesPort;
  /** What requests with an Idempotency-Key were answered. */
  readonly idempotency: Pick<IdempotencyKeys, 'begin'>;
  readonly proxies: Pick<Proxies, 'list'>;
  /** Of lists that are not read from the store. */
  readonly cursors: Pick<Cursors, 'open' | 'page'>;
  readonly audit: Pick<
    AuditIndex,
    | 'search'
    | 'get'
    | 'tail'
    | 'searchIdentities'
    | 'getIdentity'
    | 'tailIdentities'
    | 'searchAdmins'
    | 'getAdmin'
    | 'tailAdmins'
    | 'state'
    | 'rebuild'
  >;
  /** Where every request is recorded. */
  readonly trail: TrailPort;
  readonly revisionTexts: Pick<RevisionTexts, 'head' | 'at'>;
  readonly log: Pick<AuditLog, 'published' | 'served' | 'witnesses' | 'tile' | 'vkeys' | 'prove' | 'bodies'>;
  /** Whether the log is served to anybody. Default false. */
  readonly logIsPublic?: boolean;
  /** Where copies of the record go, and how far each has come. Default: none. */
  readonly sinks?: () => readonly SinkStatus[];
  readonly bundle: Watch<TrustBundle>;
  readonly tokens: TokensPort;
  readonly namedTokens: Pick<NamedTokens, 'create' | 'list' | 'get' | 'revoke'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  readonly info: ServerInfo;
  /** Policies of this namespace apply to every namespace. Default 'writ-system'. */
  readonly rootNamespace?: string;
}

export interface ListenOptions {
  /** Address to bind. On a loopback address, only requests that name a loopback host are served. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

export interface RunningServer {
  readonly url: string;
  readonly port: number;
  /** Ends live streams, lets running requests finish for 5 s, then closes every connection. Idempotent. */
  close(): Promise<void>;
}

/** How long requests may go on once the server stops. */
const GRACE_MS = 5_000;
/** Connections at a time; more wait in the kernel's queue or are dropped. */
const MAX_CONNECTIONS = 1_000;

/** The REST API and its page, listening. Throws `unavailable` when the address cannot be had. */
export async function createRestServer(deps: RestDeps, options: ListenOptions): Promise<RunningServer> {
  const stopping = new AbortController();
  const { app, port } = await createRoutes(deps, { ...options, stopping: stopping.signal });
  const connections = new Connections(app.server);
  await listen(app, options);
  let closing: Promise<void> | undefined;
  return {
    url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port()}`,
    port: port(),
    close: () => {
      closing ??= close(app, stopping, connections, deps.clock);
      return closing;
    },
  };
}

/** Everything but the socket. */
export async function createRoutes(
  deps: RestDeps,
  options: ListenOptions & { readonly stopping: AbortSignal },
): Promise<{ readonly app: App; readonly port: () => number }> {
  const app = createApp(deps);
  const port = () => (app.server.address() as AddressInfo | null)?.port ?? options.port;
  const streams = new EventStreams({ clock: deps.clock, logger: deps.logger, stopping: options.stopping });
  const revision = () => deps.policies.current.current.revision;
  guard(app, { host: options.host, port, tokens: deps.tokens, stopping: options.stopping });
  recordCalls(app, deps);
  logWrites(app, deps.logger);
  await describe(app, deps.info.version);
  policies(app, { policies: deps.policies, tokenKeys: deps.tokenKeys });
  policyRevisions(app, { policies: deps.policies, history: deps.history, clock: deps.clock });
  policyChanges(app, deps);
  policyPlan(app, deps);
  policySuggest(app, deps);
  policyCheck(app, {
    policies: deps.policies,
    entries: deps.entries,
    bundle: deps.bundle,
    rootNamespace: deps.rootNamespace ?? 'writ-system',
    clock: deps.clock,
  });
  entries(app, { entries: deps.entries });
  entriesImport(app, { entries: deps.entries });
  joinTokens(app, { joinTokens: deps.joinTokens, idempotency: deps.idempotency });
  tokens(app, { namedTokens: deps.namedTokens, idempotency: deps.idempotency });
  nodes(app, { nodes: deps.nodes, clocks: deps.nodeClocks ?? [] });
  federation(app, deps);
  authorities(app, { authorities: deps.authorities, revision });
  quarantines(app, deps);
  const { inQuarantine, plainTextPorts, records } = deps;
  proxies(app, { proxies: deps.proxies, cursors: deps.cursors, inQuarantine, plainTextPorts, records, revision });
  audit(app, { audit: deps.audit, clock: deps.clock, streams });
  identityAudit(app, { audit: deps.audit, clock: deps.clock, streams });
  adminAudit(app, { audit: deps.audit, clock: deps.clock, streams });
  auditLog(app, { log: deps.log, isPublic: deps.logIsPublic ?? false });
  auditBatches(app, deps);
  auditIndex(app, deps);
  auditSinks(app, { sinks: deps.sinks ?? (() => []) });
  log(app, { log: deps.log, isPublic: deps.logIsPublic ?? false });
  bundle(app, { bundle: deps.bundle });
  whoami(app);
  info(app, { info: deps.info, bundle: deps.bundle });
  openapi(app);
  await docs(app);
  await page(app, deps.info, options.host);
  await app.ready();
  return { app, port };
}

async function listen(app: App, options: ListenOptions): Promise<void> {
  app.server.maxConnections = MAX_CONNECTIONS;
  try {
    // For a name with several addresses fastify would open several servers; one is enough, and is what `close` knows of.
    await app.listen({ host: options.host === 'localhost' ? '127.0.0.1' : options.host, port: options.port });
  } catch (cause) {
    await app.close();
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
    const mend =
      why === 'EADDRINUSE'
        ? 'Something listens there already: stop it, or choose another port.'
        : 'Choose another address.';
    throw new AppError('unavailable', `REST cannot listen on ${options.host}:${options.port} (${why}). ${mend}`, {
      cause,
    });
  }
}

async function close(app: App, stopping: AbortController, connections: Connections, clock: Clock): Promise<void> {
  stopping.abort();
  connections.stop();
  const cancel = clock.after(GRACE_MS, () => connections.cut());
  try {
    await app.close();
  } finally {
    cancel();
  }
}

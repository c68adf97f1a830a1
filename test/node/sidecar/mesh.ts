import type { AddressInfo, Server, Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import { systemClock } from '../../../src/base/clock.ts';
import type { Logger } from '../../../src/base/log.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { Watch } from '../../../src/base/watch.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { AuditEvent, CompletionEvent, DecisionEvent } from '../../../src/core/audit/event.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import type { Trust } from '../../../src/core/identity/trust.ts';
import { compile } from '../../../src/core/policy/compile.ts';
import type { Policy, Rule, StringMatch } from '../../../src/core/policy/model.ts';
import type { Service } from '../../../src/core/policy/snapshot.ts';
import type { Svid } from '../../../src/node/agent/svid.ts';
import type { Recorder } from '../../../src/node/sidecar/enforce.ts';
import { Enforcer } from '../../../src/node/sidecar/enforce.ts';
import type { InboundOptions } from '../../../src/node/sidecar/inbound.ts';
import { startInbound } from '../../../src/node/sidecar/inbound.ts';
import type { Limits } from '../../../src/node/sidecar/limits.ts';
import { defaultLimits } from '../../../src/node/sidecar/limits.ts';
import type { Listener } from '../../../src/node/sidecar/listener.ts';
import { meshTrust } from '../../../src/node/sidecar/mesh-trust.ts';
import { startOutbound } from '../../../src/node/sidecar/outbound.ts';
import type { PolicyState } from '../../../src/node/sidecar/policy-state.ts';
import type { QuarantineList } from '../../../src/node/sidecar/quarantine/list.ts';
import { nobody } from '../../../src/node/sidecar/quarantine/list.ts';
import { TokenVerifier } from '../../../src/node/sidecar/token.ts';
import type { IssueOptions, TestAuthority } from '../../support/pki.ts';
import { createTestAuthority } from '../../support/pki.ts';

/** Two sidecars on loopback, without a control plane: the test holds the writer's end of every watch. */

export const WEB = 'spiffe://example.org/ns/shop/sa/web';
export const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

export function exact(value: string): StringMatch {
  return { kind: 'exact', value };
}

export function policy(name: string, action: Policy['action'], rules: readonly Rule[]): Policy {
  return { namespace: 'shop', name, revision: 7, selector: {}, action, rules };
}

/** Lets the principal do whatever the operation says; everything when there is none. */
export function allow(principal = 'example.org/ns/shop/sa/web', to: Rule['to'] = []): Policy {
  return policy('allow', 'ALLOW', [{ from: [{ principals: [exact(principal)], namespaces: [] }], to }]);
}

export class MemoryRecorder implements Recorder {
  readonly events: AuditEvent[] = [];
  /** Awaited before an event counts as durable; a test can hold it back or make it fail. */
  beforeDurable: (event: AuditEvent) => Promise<void> = async () => undefined;
  #waiting: (() => void)[] = [];

  async append(event: AuditEvent): Promise<void> {
    await this.beforeDurable(event);
    this.events.push(event);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  get decisions(): DecisionEvent[] {
    return this.events.filter((event) => event.kind === 'decision');
  }

  get completions(): CompletionEvent[] {
    return this.events.filter((event) => event.kind === 'completion');
  }

  /** Resolves when as many completions are recorded. */
  async completed(count: number): Promise<CompletionEvent[]> {
    while (this.completions.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.completions;
  }
}

export interface TestSidecarOptions {
  readonly authority: TestAuthority;
  readonly id: string;
  readonly policies?: readonly Policy[];
  readonly services?: readonly Service[];
  readonly clock?: Clock;
  readonly limits?: Partial<Limits>;
  readonly issue?: IssueOptions;
  readonly logger?: Logger;
}

export class TestSidecar {
  readonly authority: TestAuthority;
  readonly id: string;
  readonly identity: WatchSource<Svid>;
  readonly bundle: WatchSource<TrustBundle>;
  /** Of other trust domains; in force with the next `push`. */
  federated: readonly TrustBundle[] = [];
  readonly policy: WatchSource<PolicyState | undefined>;
  readonly quarantine = new WatchSource<QuarantineList>(nobody);
  readonly recorder = new MemoryRecorder();
  /** Of its inbound ports. */
  readonly enforcers: Enforcer[] = [];
  readonly limits: Limits;
  readonly clock: Clock;
  readonly logger: Logger;
  #revision = 1;

  constructor(o: TestSidecarOptions) {
    this.authority = o.authority;
    this.id = o.id;
    this.identity = new WatchSource<Svid>(o.authority.issue(o.id, o.issue));
    this.bundle = new WatchSource(o.authority.bundle);
    this.limits = { ...defaultLimits, drainMs: 500, ...o.limits };
    this.clock = o.clock ?? systemClock;
    this.logger = o.logger ?? silentLogger;
    this.policy = new WatchSource<PolicyState | undefined>(undefined);
    this.push(o.policies ?? [], o.services ?? []);
  }

  push(policies: readonly Policy[], services: readonly Service[] = [], more: Partial<PolicyState> = {}): void {
    this.#revision += 1;
    this.policy.set({
      revision: this.#revision,
      hash: Buffer.alloc(32, this.#revision),
      compiled: compile(policies, this.#revision),
      services: new Map(services.map((service) => [hostOf(service), service])),
      bundle: this.bundle.current,
      federated: this.federated,
      publishedAt: 0,
      receivedAt: 0,
      connected: true,
      ...more,
    });
  }

  rotate(issue?: IssueOptions): void {
    this.identity.set(this.authority.issue(this.id, issue));
  }

  async inbound(
    o: Partial<InboundOptions> & { readonly application: { host: string; port: number } },
  ): Promise<Listener> {
    const { identity, recorder, limits, clock, logger } = this;
    const tokens = new TokenVerifier({ audiences: [this.id], clock });
    const { policy, quarantine } = this;
    const { streamAgeMs } = limits;
    const enforcer = new Enforcer({ identity, policy, quarantine, streamAgeMs, recorder, tokens, clock, logger });
    this.enforcers.push(enforcer);
    onTestFinished(() => enforcer.close());
    const listener = await startInbound(
      { host: '127.0.0.1', port: 0, protocol: 'http', ...o },
      { identity, trust: this.#trust(), enforcer, quarantine, policy, limits, clock, logger },
    );
    onTestFinished(() => listener.drain(50));
    return listener;
  }

  async outbound(): Promise<Listener> {
    const { identity, quarantine, limits, clock, logger } = this;
    const listener = await startOutbound(
      { host: '127.0.0.1', port: 0 },
      {
        identity,
        trust: this.#trust(),
        policy: this.policy,
        quarantine,
        recorder: this.recorder,
        limits,
        clock,
        logger,
      },
    );
    onTestFinished(() => listener.drain(50));
    return listener;
  }

  #trust(): Watch<Trust> {
    const { trust, stop } = meshTrust(this.bundle, this.policy);
    onTestFinished(stop);
    return trust;
  }
}

/** What stands before `.mesh`. */
function hostOf({ name, namespace, spiffeId }: Service): string {
  const { trustDomain } = parseSpiffeId(spiffeId);
  return trustDomain === 'example.org' ? `${name}.${namespace}` : `${name}.${namespace}.${trustDomain}`;
}

export function service(
  name: string,
  endpoints: readonly { readonly port: number; readonly protocol?: 'http' | 'tcp' }[],
  spiffeId = `spiffe://example.org/ns/shop/sa/${name}`,
): Service {
  return {
    name,
    namespace: 'shop',
    spiffeId,
    endpoints: endpoints.map(({ port, protocol }) => ({ address: `127.0.0.1:${port}`, protocol: protocol ?? 'http' })),
  };
}

/** Listens on a free loopback port until the test ends. */
export async function serve(server: Server): Promise<{ readonly host: string; readonly port: number }> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of open) socket.destroy();
    await closed;
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

export interface Pair {
  readonly authority: TestAuthority;
  readonly web: TestSidecar;
  readonly orders: TestSidecar;
  readonly inbound: Listener;
  readonly outbound: Listener;
}

/** web's sidecar → orders' sidecar → an application; web may call unless the test says otherwise. */
export async function startPair(
  application: Server,
  o: {
    readonly policies?: readonly Policy[];
    readonly protocol?: 'http' | 'tcp';
    readonly limits?: Partial<Limits>;
    readonly clock?: Clock;
  } = {},
): Promise<Pair> {
  const authority = createTestAuthority();
  const shared = {
    authority,
    ...(o.limits === undefined ? {} : { limits: o.limits }),
    ...(o.clock === undefined ? {} : { clock: o.clock }),
  };
  const orders = new TestSidecar({ ...shared, id: ORDERS, policies: o.policies ?? [allow()] });
  const web = new TestSidecar({ ...shared, id: WEB });
  const protocol = o.protocol ?? 'http';
  const inbound = await orders.inbound({ protocol, application: await serve(application) });
  web.push([], [service('orders', [{ port: inbound.port, protocol }])]);
  const outbound = await web.outbound();
  return { authority, web, orders, inbound, outbound };
}

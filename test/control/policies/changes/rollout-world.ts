import { expect, onTestFinished } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { WatchSource } from '../../../../src/base/watch.ts';
import type { AdminFacts } from '../../../../src/control/ledger/admin-recorder.ts';
import type { RolloutPlan } from '../../../../src/control/policies/changes/change.ts';
import type { FullChange } from '../../../../src/control/policies/changes/change-views.ts';
import { ChangeViews } from '../../../../src/control/policies/changes/change-views.ts';
import { Changes } from '../../../../src/control/policies/changes/changes.ts';
import { Protection } from '../../../../src/control/policies/changes/protection.ts';
import { Rollouts } from '../../../../src/control/policies/changes/rollouts.ts';
import { StagedPublisher } from '../../../../src/control/policies/changes/staged-publisher.ts';
import { Stages } from '../../../../src/control/policies/changes/stages.ts';
import { Publisher } from '../../../../src/control/policies/publisher.ts';
import { PolicyStore } from '../../../../src/control/policies/store.ts';
import type { ProxyConnection, ProxyStatus } from '../../../../src/control/registry/proxies.ts';
import { Proxies } from '../../../../src/control/registry/proxies.ts';
import type { Store } from '../../../../src/control/store/store.ts';
import type { TrustBundle } from '../../../../src/core/identity/bundle.ts';
import { changeDefaults } from '../../../../src/core/policy/change.ts';
import type { SnapshotContent } from '../../../../src/core/policy/snapshot.ts';
import { FakeClock } from '../../../support/clock.ts';

export const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';
const labels = { app: 'orders' };

/** One replica of the control plane, as far as policies and sidecars go. Nothing in it moves unless the test says so. */
export class Replica {
  readonly policies: PolicyStore;
  readonly stages: Stages;
  readonly publisher: StagedPublisher;
  readonly proxies: Proxies;
  readonly changes: Changes;
  readonly views: ChangeViews;
  readonly rollouts: Rollouts;
  readonly store: Store;
  readonly clock: FakeClock;
  /** Until when the records of each sidecar are known. */
  readonly heard = new Map<string, number>();
  readonly sidecars = new Map<string, FakeSidecar>();
  /** What was put on the record of administration. */
  readonly recorded: AdminFacts[] = [];
  /** Nothing can be recorded. */
  isDiskFull = false;
  readonly #close: () => Promise<void>;

  static async open(store: Store, clock = new FakeClock()): Promise<Replica> {
    const options = { store, clock, logger: silentLogger };
    const policies = await PolicyStore.open(options);
    const stages = await Stages.open({ ...options, policies: policies.current });
    const desired = (instanceId: string) => stages.desired(instanceId);
    const proxies = await Proxies.open({ ...options, published: policies.current, desired });
    return new Replica({ store, clock, policies, stages, proxies });
  }

  private constructor(o: Pick<Replica, 'store' | 'clock' | 'policies' | 'stages' | 'proxies'>) {
    const { store, clock, policies, stages, proxies } = o;
    [this.store, this.clock, this.policies, this.stages, this.proxies] = [store, clock, policies, stages, proxies];
    const bundle: TrustBundle = { trustDomain: 'example.org', roots: [], jwks: { keys: [] }, sequence: 1 };
    const common = { services: new WatchSource([]), bundle: new WatchSource(bundle), clock, logger: silentLogger };
    const encode = (content: SnapshotContent) => Buffer.from(JSON.stringify(content));
    const publisher = (objects: typeof policies.current) => new Publisher({ ...common, encode, policies: objects });
    this.publisher = new StagedPublisher({ policies: policies.current, stages, publisher });
    const protection = new Protection({ rootNamespace: 'writ-system' });
    this.changes = new Changes({ store, policies, protection, clock, logger: silentLogger });
    this.views = new ChangeViews({ store, clock });
    this.rollouts = new Rollouts({
      ...{ store, stages, proxies, changes: this.changes, clock, logger: silentLogger },
      trail: {
        record: async (facts) => {
          if (this.isDiskFull) throw new AppError('audit-unavailable', 'The disk is full.');
          this.recorded.push(facts);
        },
        report: async (facts) => void this.recorded.push(facts),
      },
      policies: policies.current,
      audit: { recordedUntil: (instanceId) => this.heard.get(instanceId) ?? null },
      concerns: async (spiffeId) => this.publisher.concerns(spiffeId, labels),
    });
    let closing: Promise<void> | undefined;
    this.#close = () => {
      closing ??= (async () => {
        this.publisher.close();
        await this.stages.close();
        await this.proxies.close();
        await this.policies.close();
      })();
      return closing;
    };
    onTestFinished(this.#close);
  }

  close(): Promise<void> {
    return this.#close();
  }

  async connect(...instanceIds: string[]): Promise<void> {
    for (const instanceId of instanceIds) {
      const hello = { instanceId, spiffeId: ORDERS, version: '0.1.0', inbound: [] };
      const connection = await this.proxies.connect(hello);
      this.sidecars.set(instanceId, new FakeSidecar(instanceId, connection, this));
    }
    await this.settle();
  }

  /** Proposes and begins a rollout; the first step is not chosen yet. */
  async start(put: readonly string[], plan: Partial<RolloutPlan> = {}): Promise<number> {
    const { revision } = await this.changes.propose({ put, author: 'ann', reason: 'TICKET-1' });
    const { steps, bakeMs, bounds } = changeDefaults;
    await this.changes.rollout({ revision, by: 'bob', plan: { steps, bakeMs, bounds, ...plan } });
    await this.settle();
    return revision;
  }

  /** One look of the rollouts, and everything that follows from it. */
  async tick(): Promise<void> {
    await this.rollouts.tick();
    await this.settle();
  }

  /** Until everybody has what is published now, and every sidecar that can has sent its records. */
  async settle(): Promise<void> {
    await expect.poll(() => this.policies.current.current.revision, { interval: 1 }).toBeGreaterThanOrEqual(0);
    await this.stages.settled();
    for (let i = 0; i < 6; i++) await new Promise((resolve) => setImmediate(resolve));
    for (const sidecar of this.sidecars.values()) sidecar.follow();
  }

  /** Moves time on; all sidecars that are not silent have sent everything by then. */
  pass(ms: number): void {
    this.clock.jump(ms);
    for (const [instanceId, sidecar] of this.sidecars) {
      if (!sidecar.isSilent) this.heard.set(instanceId, this.clock.now());
    }
  }

  /** Instances that are to have the candidate. */
  chosen(): readonly string[] {
    return this.statuses().flatMap(({ instanceId, desiredChange }) => (desiredChange === null ? [] : [instanceId]));
  }

  statuses(): readonly ProxyStatus[] {
    return this.proxies.list();
  }

  async change(revision: number): Promise<FullChange> {
    return await this.views.get(revision);
  }

  /** Paths that the sidecar allows now, as it was sent. */
  paths(instanceId: string): readonly string[] {
    return this.sidecars.get(instanceId)?.paths ?? [];
  }

  /** Calls that a sidecar has recorded now. */
  async record(instanceId: string, calls: number, o: { denied?: number; failed?: number } = {}): Promise<void> {
    const { denied = 0, failed = 0 } = o;
    const time = this.clock.now();
    const { last } = await this.store.db
      .selectFrom('audit_records')
      .select((eb) => eb.fn.max('place').as('last'))
      .executeTakeFirstOrThrow();
    const first = (last ?? 0) + 1;
    for (let i = 0; i < calls; i++) {
      const place = first + i;
      const decision = i < denied ? 'deny' : 'allow';
      await this.store.db
        .insertInto('audit_records')
        .values({
          ...{
            sidecar: instanceId,
            epoch: 1,
            seq: place,
            place,
            leaf: place,
            call: `call-${place}`,
            event_hash: '',
            time,
          },
          ...{
            source: 'x',
            destination: ORDERS,
            protocol: 'http',
            method: 'GET',
            host: '',
            path: '/',
            path_start: '/',
          },
          ...{ port: 80, decision, reason: decision, rule: decision === 'deny' ? 'default-deny' : 'shop/web@1#0' },
          ...{ policy_revision: 1, trace_id: '', token_subject: '', certificate_serial: '' },
        } as never)
        .execute();
      if (i >= calls - failed) {
        const completion = { sidecar: instanceId, call: `call-${place}`, time, status: 503 };
        await this.store.db
          .insertInto('audit_completions')
          .values({ ...completion, duration_ms: 1, bytes_in: 0, bytes_out: 0 } as never)
          .execute();
      }
    }
  }
}

/** A sidecar that takes what it is sent, unless it is told otherwise. */
export class FakeSidecar {
  readonly instanceId: string;
  readonly connection: ProxyConnection;
  /** Is not sent anything yet. */
  isUnsent = false;
  /** Answers nothing. */
  isStuck = false;
  /** Sends no records. */
  isSilent = false;
  refuses: string | undefined;
  paths: readonly string[] = [];
  readonly #replica: Replica;

  constructor(instanceId: string, connection: ProxyConnection, replica: Replica) {
    this.instanceId = instanceId;
    this.connection = connection;
    this.#replica = replica;
  }

  follow(): void {
    if (this.isUnsent) return;
    const all = this.#replica.publisher.current.current;
    const published = all.of?.(this.instanceId) ?? all;
    const { hash, content } = published.for(ORDERS, labels);
    this.connection.sent(published.revision, hash, 1);
    if (this.isStuck) return;
    if (this.refuses !== undefined) {
      this.connection.nack(published.revision, hash, this.refuses);
      return;
    }
    this.connection.ack(published.revision, hash);
    const { policies } = JSON.parse(content.toString()) as SnapshotContent;
    this.paths = policies.flatMap(({ rules }) =>
      rules.flatMap(({ to }) => to.flatMap((operation) => operation.paths.map((path) => JSON.stringify(path)))),
    );
  }
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Found, Resolution } from '../../../../src/node/agent/sds/sds-names.ts';
import type { Due, Subscription } from '../../../../src/node/agent/sds/sds-subscription.ts';
import { DeltaSubscription, WholeSubscription } from '../../../../src/node/agent/sds/sds-subscription.ts';
import type { SecretsDeltaRequest, SecretsRequest } from '../../../../src/wire/secret-requests.ts';

const NAMES = ['a', 'b', 'c', 'd'] as const;

/** What happens between a client and the agent, in any order. */
type Step =
  | { readonly do: 'change'; readonly name: string; readonly version: number }
  | { readonly do: 'remove'; readonly name: string }
  | { readonly do: 'pend'; readonly name: string }
  | { readonly do: 'subscribe'; readonly names: readonly string[] }
  | { readonly do: 'unsubscribe'; readonly name: string }
  | { readonly do: 'ack' }
  | { readonly do: 'nack' }
  | { readonly do: 'stale' };

const name = fc.constantFrom(...NAMES);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('change' as const), name, version: fc.nat(3) }),
  fc.record({ do: fc.constant('remove' as const), name }),
  fc.record({ do: fc.constant('pend' as const), name }),
  fc.record({
    do: fc.constant('subscribe' as const),
    names: fc.array(fc.oneof(name, fc.constant('*')), { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ do: fc.constant('unsubscribe' as const), name: fc.oneof(name, fc.constant('*')) }),
  fc.constant({ do: 'ack' as const }),
  fc.constant({ do: 'ack' as const }),
  fc.constant({ do: 'nack' as const }),
  fc.constant({ do: 'stale' as const }),
);

/** What there is at the agent. Everything is the names that have something. */
class Agent {
  readonly versions = new Map<string, string>();
  readonly pending = new Set<string>();

  resolve(wanted: { readonly names: ReadonlySet<string>; readonly everything: boolean }): Resolution {
    const names = new Set([...wanted.names, ...(wanted.everything ? this.versions.keys() : [])]);
    const found = new Map<string, Found>();
    const pending = new Map<string, string>();
    const missing = new Map<string, string>();
    for (const each of names) {
      const version = this.versions.get(each);
      if (version !== undefined) found.set(each, { name: each, version, encode: () => Buffer.from(version) });
      else if (this.pending.has(each)) pending.set(each, 'soon');
      else missing.set(each, 'no');
    }
    return { found, pending, missing };
  }

  take(each: Step): void {
    if (each.do === 'change') {
      this.versions.set(each.name, `${each.name}${each.version}`);
      this.pending.delete(each.name);
    } else if (each.do === 'remove' || each.do === 'pend') {
      this.versions.delete(each.name);
      this.pending[each.do === 'pend' ? 'add' : 'delete'](each.name);
    }
  }
}

/** A client by the rules of the protocol, and what it must and must not see. */
abstract class Client<Request> {
  readonly agent = new Agent();
  readonly subscription: Subscription<Request>;
  readonly names = new Set<string>();
  /** Content by name: what it works with. */
  readonly has = new Map<string, string>();
  /** What it refused last, by name. */
  readonly refused = new Map<string, string>();
  unanswered: Due | undefined;
  lastNonce = '';
  readonly nonces = new Set<string>();

  constructor(subscription: Subscription<Request>) {
    this.subscription = subscription;
  }

  abstract say(o: {
    nonce: string;
    refusal?: string;
    subscribe?: readonly string[];
    unsubscribe?: readonly string[];
  }): void;
  abstract takeOver(due: Due): void;

  run(each: Step): void {
    this.agent.take(each);
    switch (each.do) {
      case 'subscribe':
        for (const one of each.names) this.names.add(one);
        // What it refused before it may be offered again, now that it asks again.
        for (const one of each.names) this.refused.delete(one);
        if (each.names.includes('*')) this.refused.clear();
        this.answerIfOpen({ subscribe: each.names });
        break;
      case 'unsubscribe':
        this.names.delete(each.name);
        this.refused.clear();
        this.answerIfOpen({ unsubscribe: [each.name] });
        break;
      case 'ack':
      case 'nack':
        if (this.unanswered !== undefined) this.answer(each.do === 'nack');
        break;
      case 'stale':
        this.say({ nonce: 'long ago' });
        break;
      case 'change':
      case 'remove':
      case 'pend':
        break;
    }
    this.poll();
  }

  /** What the agent sends now, if anything. */
  poll(): void {
    const { wanted } = this.subscription;
    if (wanted === undefined) return;
    const due = this.subscription.respond(this.agent.resolve(wanted));
    if (due === undefined) return;
    expect(this.unanswered, 'a second response while one is under way').toBeUndefined();
    expect(this.nonces.has(due.nonce), 'a nonce that was there before').toBe(false);
    this.nonces.add(due.nonce);
    this.lastNonce = due.nonce;
    this.unanswered = due;
    const named = [...due.secrets.map((secret) => secret.name), ...due.removed];
    expect(new Set(named).size, 'a name twice in one response').toBe(named.length);
    for (const secret of due.secrets) expect(this.agent.versions.get(secret.name)).toBe(secret.version);
  }

  answer(refuse: boolean): void {
    const due = this.unanswered;
    if (due === undefined) return;
    this.unanswered = undefined;
    if (!refuse) this.takeOver(due);
    this.say({ nonce: due.nonce, ...(refuse && { refusal: 'no' }) });
  }

  /** A change of names goes with the answer to what is under way, as in Envoy. */
  answerIfOpen(o: { subscribe?: readonly string[]; unsubscribe?: readonly string[] }): void {
    const due = this.unanswered;
    this.unanswered = undefined;
    if (due !== undefined) this.takeOver(due);
    this.say({ nonce: due?.nonce ?? this.lastNonce, ...o });
  }

  /** Everything under way is answered. */
  settle(): void {
    for (let i = 0; i < 20; i++) {
      this.poll();
      if (this.unanswered === undefined) return;
      this.answer(false);
    }
    throw new Error('the agent sends without end');
  }

  wants(each: string): boolean {
    return this.names.has(each) || this.names.has('*');
  }
}

class WholeClient extends Client<SecretsRequest> {
  constructor() {
    super(new WholeSubscription(counter()));
  }

  say({ nonce, refusal }: { nonce: string; refusal?: string }): void {
    this.subscription.receive({ node: undefined, names: [...this.names], nonce, refusal });
  }

  takeOver(due: Due): void {
    for (const { name: each, version } of due.secrets) this.has.set(each, version);
  }
}

class DeltaClient extends Client<SecretsDeltaRequest> {
  constructor() {
    super(new DeltaSubscription(counter()));
  }

  say(o: { nonce: string; refusal?: string; subscribe?: readonly string[]; unsubscribe?: readonly string[] }): void {
    const { nonce, refusal, subscribe = [], unsubscribe = [] } = o;
    for (const each of this.has.keys()) if (!this.wants(each)) this.has.delete(each);
    const initialVersions = new Map<string, string>();
    this.subscription.receive({ node: undefined, subscribe, unsubscribe, initialVersions, nonce, refusal });
  }

  /** Here it may cross what is under way. */
  override answerIfOpen(o: { subscribe?: readonly string[]; unsubscribe?: readonly string[] }): void {
    this.say({ nonce: '', ...o });
  }

  takeOver(due: Due): void {
    for (const { name: each, version } of due.secrets) if (this.wants(each)) this.has.set(each, version);
    for (const each of due.removed) this.has.delete(each);
  }
}

function counter(): () => string {
  let count = 0;
  return () => {
    count += 1;
    return `n${count}`;
  };
}

describe('a subscription to secrets, whatever happens', () => {
  it('state of the world: leaves a client that answers with what there is, and sends nothing after that', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const client = new WholeClient();
        client.run({ do: 'subscribe', names: ['a'] });
        for (const each of steps) client.run(each);
        client.settle();
        const refusedNothing = !steps.some((each) => each.do === 'nack');
        for (const [each, version] of client.agent.versions) {
          if (client.wants(each) && refusedNothing) expect(client.has.get(each), each).toBe(version);
        }
        client.settle();
        expect(client.unanswered).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  it('incremental: leaves a client that answers with what there is, no more and no less', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const client = new DeltaClient();
        client.run({ do: 'subscribe', names: ['a'] });
        for (const each of steps) client.run(each);
        client.settle();
        const refusedNothing = !steps.some((each) => each.do === 'nack');
        if (!refusedNothing) return;
        const wanted = [...client.agent.versions].filter(([each]) => client.wants(each));
        const has = [...client.has].filter(([each]) => client.wants(each));
        expect(new Map(has)).toEqual(new Map(wanted));
      }),
      { numRuns: 500 },
    );
  });

  it('incremental: tells a client that left and came back while a response was under way what of it is gone', () => {
    const client = new DeltaClient();
    client.run({ do: 'subscribe', names: ['a'] });
    client.run({ do: 'ack' });
    client.run({ do: 'change', name: 'd', version: 0 });
    client.run({ do: 'subscribe', names: ['*'] });
    client.run({ do: 'unsubscribe', name: '*' });
    client.run({ do: 'remove', name: 'd' });
    client.run({ do: 'subscribe', names: ['*'] });
    client.run({ do: 'ack' });
    expect(client.unanswered?.removed).toEqual(['d']);
  });

  it('never sends again what was refused, until it is different or asked for again', () => {
    for (const make of [() => new WholeClient(), () => new DeltaClient()]) {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
          const client = make();
          client.agent.take({ do: 'change', name: 'a', version: 9 });
          client.run({ do: 'subscribe', names: ['a'] });
          expect(client.unanswered?.secrets.map((secret) => secret.name)).toEqual(['a']);
          client.run({ do: 'nack' });
          // Nothing about `a`, and no other name that a whole response would bring it along with.
          for (const each of steps) {
            if (each.do === 'subscribe' || each.do === 'unsubscribe') continue;
            if ('name' in each && each.name === 'a') continue;
            client.run(each);
            expect(client.unanswered).toBeUndefined();
          }
          client.run({ do: 'change', name: 'a', version: 1 });
          expect(client.unanswered?.secrets.map((secret) => secret.name)).toEqual(['a']);
        }),
        { numRuns: 200 },
      );
    }
  });
});

import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { Entry } from '../../../src/control/authority/entries/entry.ts';
import type { IdentitiesOptions } from '../../../src/control/authority/identities.ts';
import { Identities } from '../../../src/control/authority/identities.ts';
import { defaultLifetimes } from '../../../src/control/authority/lifetimes.ts';
import type { Ledger } from '../../../src/control/ledger/ledger.ts';
import { EventProducer } from '../../../src/control/ledger/producer.ts';
import { LedgerRecorder } from '../../../src/control/ledger/recorder.ts';
import type { IdentityEvent } from '../../../src/core/audit/event.ts';
import type { PeerIdentity } from '../../../src/core/identity/chain.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { FakeClock } from '../../support/clock.ts';
import type { Step } from '../../support/memory-files.ts';
import { failure, MemoryFiles } from '../../support/memory-files.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { ledgerEvents, openLedger } from '../../support/shipping.ts';

const pki = createTestAuthority();
const web = 'spiffe://example.org/ns/shop/sa/web';
const agent = 'spiffe://example.org/writ/agent/x509pop/7';

function peer(uri: string): PeerIdentity {
  const [certificate = Buffer.alloc(0)] = pki.issue(uri, { instanceId: `of ${uri}`.replaceAll(' ', '-') }).chain;
  return { id: parseSpiffeId(uri), instanceId: 'i', serial: 's', notBefore: 0, notAfter: 9e12, certificate };
}

const callers = { workload: peer(web), agent: peer(agent) };

type Ask = Parameters<IdentitiesOptions['authority']['issue']>[0];

function entry(id: string): Entry {
  const none = { selectors: [], namespaces: [], labels: {}, dnsNames: [], federatesWith: [], hint: '' };
  const limits = { x509TtlSeconds: null, jwtTtlSeconds: null, expiresAt: null, jwtClaims: null };
  return {
    id,
    parentId: agent,
    spiffeId: web,

    ...none,
    ...limits,
    revision: 1,
    createdAt: 0,
    updatedAt: 0,
  } as Entry;
}

/** Issues for everybody who is in `callers`, with a real ledger on files that a test makes fail. */
async function setUp() {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  const ledger = await openLedger(files, { clock });
  const identity = pki.issue('spiffe://example.org/writ/control-plane', { instanceId: 'control-1' });
  const producer = new EventProducer({ ledger, identity: () => identity, clock, logger: silentLogger });
  onTestFinished(async () => {
    files.hook = () => 'pass';
    await producer.close();
  });
  const entries = new Map(['a', 'b', 'c'].map((id) => [id, entry(id)]));
  let count = 0;
  const token = async () => {
    count += 1;
    const claims = Buffer.from(JSON.stringify({ jti: `jti-${count}` })).toString('base64url');
    return { token: `h.${claims}.s`, issuedAt: 0, expiresAt: 9 };
  };
  const options = {
    authority: {
      lifetimes: defaultLifetimes,
      issue: ({ id, instanceId }: Ask) => pki.issue(id.uri, { instanceId }),
      signJwt: token,
      signWit: token,
    },
    entries: {
      current: new WatchSource({ byId: (id: string) => entries.get(id) }),
      settled: async () => undefined,
    },
    views: { of: () => ({ entries }) },
    nodes: {
      agentSelectors: () => [],
      refusal: () => undefined,
      current: () => ({ entryId: 'a' }),
      renewable: async () => ({ method: 'x509pop', selectors: [], entryId: 'a' }),
      renewed: async () => undefined,
    },
    recorder: new LedgerRecorder({ producer, clock }),
    clock,
    logger: silentLogger,
  } as unknown as IdentitiesOptions;
  return { files, clock, ledger, identities: new Identities(options) };
}

type World = Awaited<ReturnType<typeof setUp>>;
const order = (entryId: string) => ({ entryId, csr: Buffer.alloc(0), variables: {} });

/** Each way to get something; resolves with the serials of what was handed out, rejects when nothing was. */
const ways: readonly (readonly [string, (world: World) => Promise<readonly string[]>])[] = [
  ['a renewal', async ({ identities }) => [(await identities.renew(callers.workload, Buffer.alloc(0))).serial]],
  [
    'certificates for the workloads of an agent',
    async ({ identities }) => {
      const outcomes = await identities.signX509(callers.agent, ['a', 'b', 'c'].map(order));
      const errors = outcomes.flatMap((outcome) => ('error' in outcome ? [outcome.error] : []));
      if (errors.length === 3) throw errors[0];
      return outcomes.flatMap((outcome) => ('value' in outcome ? [outcome.value.serial] : []));
    },
  ],
  [
    'a token',
    async ({ identities }) => {
      const jwt = { audience: ['x'], entryId: undefined, variables: {} };
      const { token } = await identities.signJwt(callers.workload, jwt);
      return [JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).jti];
    },
  ],
];

async function granted(ledger: Ledger): Promise<string[]> {
  const events = (await ledgerEvents(ledger)).map(({ event }) => event as IdentityEvent);
  return events.filter(({ outcome }) => outcome === 'granted').map(({ serial }) => serial);
}

function diskFails(code: string, operation: string) {
  return async (step: Step) => {
    if (step.operation === operation) throw failure(code);
    return 'pass' as const;
  };
}

const faults = [
  ['ENOSPC', 'write'],
  ['EIO', 'write'],
  ['EIO', 'sync'],
] as const;

describe.each(ways)('%s', (_, get) => {
  it('is on the record with its serial when it is handed out', async () => {
    const world = await setUp();
    const serials = [...(await get(world)), ...(await get(world))];
    expect(serials).not.toEqual([]);
    expect(await granted(world.ledger)).toEqual(serials);
    expect(await granted(await openLedger(world.files.crash('power')))).toEqual(serials);
  });

  it.each(faults)(
    'is not handed out, nor on the record, while the disk of the ledger says %s to a %s',
    async (code, operation) => {
      const world = await setUp();
      const before = await get(world);
      world.files.hook = diskFails(code, operation);
      for (let n = 0; n < 3; n++) {
        await expect(get(world)).rejects.toMatchObject({ code: 'unavailable' });
        await world.clock.advance(200);
      }
      expect(await granted(world.ledger)).toEqual(before);
      world.files.hook = () => 'pass';
      const after = await get(world);
      expect(await granted(world.ledger)).toEqual([...before, ...after]);
      expect(await granted(await openLedger(world.files.crash('kill')))).toEqual([...before, ...after]);
    },
  );

  it('is not handed out before the disk has it', async () => {
    const world = await setUp();
    await get(world);
    const held = Promise.withResolvers<'pass'>();
    let isHeld = false;
    world.files.hook = (step) => {
      if (step.operation !== 'sync') return 'pass';
      isHeld = true;
      return held.promise;
    };
    let isOut = false;
    const getting = get(world).then(() => {
      isOut = true;
    });
    await expect.poll(() => isHeld).toBe(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(isOut).toBe(false);
    held.resolve('pass');
    await getting;
  });
});

it('a refusal is on the record with its reason, and stays a refusal when it cannot be', async () => {
  const world = await setUp();
  const other = { audience: ['x'], entryId: 'nobody', variables: {} };
  const ask = () => world.identities.signJwt(callers.agent, other, '10.0.0.7');
  await expect(ask()).rejects.toMatchObject({ code: 'not-found' });
  const [{ event } = { event: undefined }] = await ledgerEvents(world.ledger);
  expect(event).toMatchObject({
    action: 'jwt-svid',
    outcome: 'refused',
    actor: agent,
    entry: 'nobody',
    reason: 'not-found: There is no such entry, or it is not for this agent.',
    source: '10.0.0.7',
    expiresAt: 0,
  });
  world.files.hook = diskFails('ENOSPC', 'write');
  await expect(ask()).rejects.toMatchObject({ code: 'not-found' });
  expect(await ledgerEvents(world.ledger)).toHaveLength(1);
});

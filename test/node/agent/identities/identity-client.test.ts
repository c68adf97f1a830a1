import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import type { WorkloadEntry } from '../../../../src/core/identity/workload-entry.ts';
import { applyDifferences } from '../../../../src/node/agent/identities/identity-client.ts';
import { IdentityFile } from '../../../../src/node/agent/identities/identity-file.ts';
import type { IdentityDifference } from '../../../../src/wire/identity-watch.ts';
import { expectAppError } from '../../../support/errors.ts';
import { createTestAuthority } from '../../../support/pki.ts';
import { tempDirectory } from '../../../support/temp.ts';

const { bundle } = createTestAuthority();
const partner = { ...bundle, trustDomain: 'partner.example' };

function entry(id: string, revision = 1): WorkloadEntry {
  const lists = { selectors: ['a:b'], namespaces: [], federatesWith: [], dnsNames: [] };
  return { id, revision, spiffeId: `spiffe://example.org/${id}`, hint: '', expiresAt: null, ...lists };
}

function part(change: Partial<IdentityDifference>): IdentityDifference {
  return { upserted: [], removed: [], bundles: [], removedBundles: [], ...change };
}

describe('a difference', () => {
  const apply = (before: Parameters<typeof applyDifferences>[0], ...parts: IdentityDifference[]) =>
    applyDifferences(before, parts, 'example.org');

  it('in several parts is taken over in their order', () => {
    const first = apply(
      undefined,
      part({ bundles: [bundle, partner], upserted: [entry('a'), entry('b')] }),
      part({ upserted: [entry('c')], removed: ['a'] }),
      part({ upserted: [entry('a', 2)] }),
    );
    expect([...first.entries.values()].map(({ id, revision }) => `${id}${revision}`)).toEqual(['b1', 'c1', 'a2']);
    expect(first.bundle).toBe(bundle);
    expect([...first.federated.keys()]).toEqual(['partner.example']);
    const second = apply(first, part({ removed: ['b'], removedBundles: ['partner.example'] }));
    expect([...second.entries.keys()]).toEqual(['c', 'a']);
    expect(second.federated.size).toBe(0);
    expect(first.entries.size).toBe(3);
  });

  it('what it does not change stays the same value', () => {
    const first = apply(undefined, part({ bundles: [bundle, partner], upserted: [entry('a')] }));
    const second = apply(first, part({ bundles: [{ ...bundle, sequence: 2 }] }));
    expect(second.entries).toBe(first.entries);
    expect(second.federated).toBe(first.federated);
    expect(second.bundle).not.toBe(first.bundle);
  });

  it('without a bundle of the own trust domain, or with one that trusts nobody, is refused', async () => {
    await expectAppError(() => apply(undefined, part({ bundles: [partner] })), 'invalid', /no bundle of example.org/);
    const first = apply(undefined, part({ bundles: [bundle] }));
    await expectAppError(() => apply(first, part({ removedBundles: ['example.org'] })), 'invalid', /no bundle/);
    const empty = part({ bundles: [{ ...bundle, roots: [] }] });
    await expectAppError(() => apply(first, empty), 'invalid', 'The bundle of example.org has no root.');
  });
});

describe('the state file', () => {
  async function start() {
    const stateDirectory = await tempDirectory();
    const o = {
      stateDirectory,
      agentId: 'spiffe://example.org/writ/agent/t/a',
      trustDomain: 'example.org',
      logger: silentLogger,
    };
    return { o, file: new IdentityFile(o) };
  }
  const state = {
    entries: new Map([entry('a'), entry('b')].map((each) => [each.id, each])),
    bundle: { ...bundle, tainted: ['kid'] },
    federated: new Map([[partner.trustDomain, partner]]),
  };

  it('brings back what was saved', async () => {
    const { file } = await start();
    expect(await file.load()).toBeUndefined();
    await file.save(state);
    expect(await file.load()).toEqual(state);
  });

  it('also when it is too long for one message', async () => {
    const { file } = await start();
    const long = (i: number) => ({ ...entry(`e${i}`), hint: 'x'.repeat(1000) });
    const entries = new Map(Array.from({ length: 2500 }, (_, i) => [`e${i}`, long(i)]));
    await file.save({ ...state, entries });
    expect((await file.load())?.entries).toEqual(entries);
  });

  it('of another agent, or damaged in any place, counts as absent', async () => {
    const { file, o } = await start();
    await file.save(state);
    const other = new IdentityFile({ ...o, agentId: 'spiffe://example.org/writ/agent/t/b' });
    expect(await other.load()).toBeUndefined();
    const good = await readFile(file.path);
    for (let at = 0; at < good.length; at += 7) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x10;
      await writeFile(file.path, bad);
      expect(await file.load(), `byte ${at}`).toBeUndefined();
    }
    await writeFile(file.path, good.subarray(0, -1));
    expect(await file.load()).toBeUndefined();
    await writeFile(file.path, good);
    await appendFile(file.path, 'x');
    expect(await file.load()).toBeUndefined();
    await writeFile(file.path, '');
    expect(await file.load()).toBeUndefined();
  });
});

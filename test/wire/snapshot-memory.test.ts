import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Policy } from '../../src/core/policy/model.ts';
import type { SnapshotContent } from '../../src/core/policy/snapshot.ts';
import { decodeSnapshotContent, encodeSnapshotContent } from '../../src/wire/snapshot-content.ts';
import { SnapshotDecoder, SnapshotEncoder } from '../../src/wire/snapshot-memory.ts';
import { expectAppError } from '../support/errors.ts';
import * as any from './arbitraries.ts';

const contents = fc.array(any.snapshotContent, { minLength: 1, maxLength: 4 });

/** Like a change: some policies stay, and one is new. */
function changed(content: SnapshotContent, more: readonly Policy[]): SnapshotContent {
  return { ...content, policies: [...more, ...content.policies.filter((_, index) => index % 3 !== 1)] };
}

function outcome(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    return String(error);
  }
}

describe('What is encoded one after the other', () => {
  it('is byte for byte what each is by itself', () => {
    fc.assert(
      fc.property(contents, (all) => {
        const encoder = new SnapshotEncoder();
        for (const content of all) {
          const next = changed(content, all[0]?.policies ?? []);
          expect(encoder.encode(content)).toEqual(encodeSnapshotContent(content));
          expect(encoder.encode(next)).toEqual(encodeSnapshotContent(next));
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('What is decoded one after the other', () => {
  it('is what each is by itself', () => {
    fc.assert(
      fc.property(contents, (all) => {
        const decoder = new SnapshotDecoder();
        for (const content of all) {
          for (const each of [
            content,
            changed(content, all[0]?.policies ?? []),
            { ...content, egress: content.policies },
          ]) {
            const bytes = encodeSnapshotContent(each);
            expect(outcome(() => decoder.decode(bytes))).toEqual(outcome(() => decodeSnapshotContent(bytes)));
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('is it also when bytes are changed, added or cut off on the way', () => {
    const edits = fc.array(fc.record({ at: fc.nat(), byte: fc.nat(255), cut: fc.boolean() }), { maxLength: 3 });
    fc.assert(
      fc.property(any.snapshotContent, edits, (content, some) => {
        const decoder = new SnapshotDecoder();
        const whole = encodeSnapshotContent(content);
        decoder.decode(whole);
        let bytes = Buffer.from(whole);
        for (const { at, byte, cut } of some) {
          if (bytes.length === 0) break;
          bytes[at % bytes.length] = byte;
          if (cut) bytes = bytes.subarray(0, at % bytes.length);
        }
        expect(outcome(() => decoder.decode(bytes))).toEqual(outcome(() => decodeSnapshotContent(bytes)));
        expect(decoder.decode(whole)).toEqual(decodeSnapshotContent(whole));
      }),
      { numRuns: 300 },
    );
  });

  const bundle = { trustDomain: 'example.org', roots: [], jwks: { keys: [] }, sequence: 1 };
  const policy = (name: string, revision = 1): Policy => ({
    ...{ namespace: 'shop', name, revision, selector: {}, action: 'ALLOW', rules: [{ from: [], to: [] }] },
  });

  it('holds the very same values for the policies that have not changed, wherever they stand', () => {
    fc.assert(
      fc.property(any.snapshotContent, (some) => {
        const decoder = new SnapshotDecoder();
        const first = { ...some, policies: ['a', 'b', 'c'].map((name) => policy(name)) };
        const before = decoder.decode(encodeSnapshotContent(first));
        const second = { ...some, policies: [policy('0'), policy('c'), policy('b', 2), policy('a')] };
        const after = decoder.decode(encodeSnapshotContent(second));
        expect(after.policies.map(({ name, revision }) => `${name}${revision}`)).toEqual(['01', 'c1', 'b2', 'a1']);
        expect(after.policies[1]).toBe(before.policies[2]);
        expect(after.policies[3]).toBe(before.policies[0]);
        expect(before.policies).not.toContain(after.policies[2]);
      }),
      { numRuns: 5 },
    );
  });

  it('tells a policy about incoming calls from the same one about outgoing calls', async () => {
    const root = fc.sample(any.snapshotContent, { numRuns: 1, seed: 1 })[0]?.bundle ?? bundle;
    const decoder = new SnapshotDecoder();
    const content = { policies: [policy('a')], services: [], bundle: root };
    decoder.decode(encodeSnapshotContent(content));
    const turned = { ...content, policies: [], egress: [policy('a')] };
    expect(decoder.decode(encodeSnapshotContent(turned)).egress).toMatchObject([{ direction: 'egress' }]);
    await expectAppError(
      async () => decoder.decode(Buffer.concat([encodeSnapshotContent(content), Buffer.from([0x0a, 0x00])])),
      'invalid',
      /policies\[1\]\.namespace/,
    );
  });
});

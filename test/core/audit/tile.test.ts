import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { ReadTile } from '../../../src/core/audit/log-tree.ts';
import { LogTree } from '../../../src/core/audit/log-tree.ts';
import {
  consistencyProof,
  inclusionProof,
  leafHash,
  rootOfHashes,
  verifyConsistency,
  verifyInclusion,
} from '../../../src/core/audit/merkle.ts';
import {
  bundleBytes,
  bundleEntry,
  parseTilePath,
  splitBundle,
  splitTile,
  tilePath,
  tilesBetween,
  widthOf,
} from '../../../src/core/audit/tile.ts';
import { TreeEdge } from '../../../src/core/audit/tree-edge.ts';
import { expectAppError } from '../../support/errors.ts';

const sizes = [0, 1, 2, 3, 5, 255, 256, 257, 300, 511, 512, 513, 1000];
const leaves = Array.from({ length: 1000 }, (_, i) => leafHash(Buffer.from(`entry ${i}`)));

/** The hashes of all tiles, by their definition: MTH over runs of 256^level leaves. */
function tilesOf(count: number): ReadTile {
  return async ({ level, index, width }) => {
    const span = 256 ** level;
    return Array.from({ length: width }, (_, i) => {
      const start = (index * 256 + i) * span;
      if (start + span > count) throw new Error('read a hash that is not there');
      return rootOfHashes(leaves.slice(start, start + span));
    });
  };
}

describe('the path of a tile', () => {
  it.each([
    [{ level: 0, index: 0, width: 256 }, 'tile/0/000'],
    [{ level: 0, index: 1_234_067, width: 256 }, 'tile/0/x001/x234/067'],
    [{ level: 1, index: 999, width: 255 }, 'tile/1/999.p/255'],
    [{ level: 63, index: 1000, width: 1 }, 'tile/63/x001/000.p/1'],
    [{ level: 'entries' as const, index: 5, width: 112 }, 'tile/entries/005.p/112'],
  ])('audit 6: of %o is %s', (tile, path) => {
    expect(tilePath(tile)).toBe(path);
    expect(parseTilePath(path)).toEqual(tile);
  });

  it.each([
    'tile/64/000',
    'tile/00/000',
    'tile/-1/000',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/1',
    'tile/0/x000/001',
    'tile/0/x1/001',
    'tile/0/001/x002',
    'tile/0/001/002',
    'tile/0/000.p/0',
    'tile/0/000.p/01',
    'tile/0/000.p/256',
    'tile/0/000.p/999',
    'tile/0/000.p/',
    'tile/0/000.p/1/',
    'tile/data/000',
    'tile/0/../../../etc/passwd',
    'tile/0/x999/x999/x999/x999/x999/999',
    '/tile/0/000',
    '',
  ])('audit 6: %s is none', (path) => {
    expect(parseTilePath(path)).toBeUndefined();
  });

  it('audit 6: whatever is read is written back the same', () => {
    const parts = fc.array(
      fc.constantFrom('tile', '/', '0', '1', '000', 'x001', 'entries', '.p', '7', '256', '..', '\0'),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          parts.map((all) => all.join('')),
          fc.string(),
        ),
        (path) => {
          const tile = parseTilePath(path);
          if (tile !== undefined) expect(tilePath(tile)).toBe(path);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe('the tiles of a log', () => {
  it('audit 8: of 70,000 leaves are those of the standard', () => {
    const all = tilesBetween(0, 70_000);
    const of = (level: number | 'entries') => all.filter((tile) => tile.level === level);
    expect(of(0).filter(({ width }) => width === 256)).toHaveLength(273);
    expect(of(0).at(-1)).toEqual({ level: 0, index: 273, width: 112 });
    expect(of(1)).toEqual([
      { level: 1, index: 0, width: 256 },
      { level: 1, index: 1, width: 17 },
    ]);
    expect(of(2)).toEqual([{ level: 2, index: 0, width: 1 }]);
    expect(of('entries').at(-1)).toEqual({ level: 'entries', index: 273, width: 112 });
  });

  it('audit 8: of 256 leaves are a full one, and one above that holds its root', () => {
    expect(tilesBetween(0, 256).filter(({ level }) => level !== 'entries')).toEqual([
      { level: 0, index: 0, width: 256 },
      { level: 1, index: 0, width: 1 },
    ]);
  });

  it('audit 8: are never empty, and those that a growing log gains are exactly those that change', () => {
    fc.assert(
      fc.property(fc.nat(140_000), fc.nat(3000), (before, growth) => {
        const gained = tilesBetween(before, before + growth);
        for (const tile of gained) {
          expect(tile.width).toBeGreaterThan(widthOf(tile, before));
          expect(tile.width).toBe(widthOf(tile, before + growth));
        }
        const hashes = gained
          .filter(({ level }) => level === 0)
          .reduce((sum, tile) => sum + tile.width - widthOf(tile, before), 0);
        expect(hashes).toBe(growth);
      }),
    );
  });
});

describe('a bundle of entries', () => {
  it('audit 10: holds each entry behind its length in two bytes', () => {
    const entries = [Buffer.from('a'), Buffer.alloc(0), Buffer.alloc(65_535, 'b')];
    const bundle = Buffer.concat(entries.map(bundleEntry));
    expect(bundle.subarray(0, 5)).toEqual(Buffer.from([0, 1, 0x61, 0, 0]));
    expect(splitBundle(bundle, 3)).toEqual(entries);
    expect(bundleBytes(bundle, 2)).toBe(5);
  });

  it('audit 10: has no room for an entry of 64 KiB', async () => {
    await expectAppError(() => bundleEntry(Buffer.alloc(65_536)), 'too-large', 'A log entry has at most 65535 bytes.');
  });

  it('audit 10: is refused unless it is exactly its entries', async () => {
    const bundle = Buffer.concat([Buffer.from('a'), Buffer.from('bc')].map(bundleEntry));
    await expectAppError(() => splitBundle(bundle, 1), 'proof-refused', /holds more than 1 entries/);
    await expectAppError(() => splitBundle(bundle, 3), 'proof-refused', /holds 2 entries instead of 3/);
    await expectAppError(() => splitBundle(bundle.subarray(0, -1), 2), 'proof-refused', /last entry is cut off/);
    await expectAppError(() => splitBundle(bundle.subarray(0, 4), 2), 'proof-refused', /last entry is cut off/);
    expect(bundleBytes(bundle, 3)).toBeUndefined();
  });

  it('is refused with an AppError or read back as it was, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(8), (bytes, width) => {
        try {
          expect(Buffer.concat(splitBundle(Buffer.from(bytes), width).map(bundleEntry))).toEqual(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
    );
  });

  it('audit 7: a tile is exactly its hashes', async () => {
    expect(splitTile(Buffer.concat(leaves.slice(0, 256)), 256)).toEqual(leaves.slice(0, 256));
    await expectAppError(() => splitTile(Buffer.alloc(8191), 256), 'proof-refused', /has 8191 bytes instead of 8192/);
  });
});

describe('the edge of a growing tree', () => {
  it('audit 2: has the root over all leaves, after each of them', () => {
    const edge = TreeEdge.empty();
    expect(edge.root()).toEqual(rootOfHashes([]));
    for (const [i, leaf] of leaves.entries()) {
      edge.append(leaf);
      if (sizes.includes(i + 1)) expect(edge.root()).toEqual(rootOfHashes(leaves.slice(0, i + 1)));
    }
  });

  it('audit 7: adds to every tile what its definition says, and hashes no partial tile upward', async () => {
    const edge = TreeEdge.empty();
    const found = new Map<string, Buffer>();
    for (const leaf of leaves) {
      for (const { level, index, hash } of edge.append(leaf)) found.set(`${level}/${index}`, hash);
    }
    expect(found.size).toBe(1000 + 3);
    const read = tilesOf(1000);
    expect([found.get('1/0'), found.get('1/1'), found.get('1/2')]).toEqual(
      await read({ level: 1, index: 0, width: 3 }),
    );
    expect(found.get('0/999')).toEqual(leaves[999]);
  });

  it.each(sizes)('is the same restored from the tiles, or from what it exported, at size %i', async (size) => {
    const grown = TreeEdge.empty();
    for (const leaf of leaves.slice(0, size)) grown.append(leaf);
    const restored = await TreeEdge.restore(size, tilesOf(size));
    expect(restored.root()).toEqual(grown.root());
    expect(TreeEdge.import(size, grown.export())?.root()).toEqual(grown.root());
    expect(restored.append(leafHash(Buffer.from('next')))).toEqual(grown.append(leafHash(Buffer.from('next'))));
    expect(restored.root()).toEqual(grown.root());
  });

  it('is none for an export of another size', () => {
    expect(TreeEdge.import(3, [Buffer.alloc(64)])).toBeUndefined();
    expect(TreeEdge.import(3, [])).toBeUndefined();
    expect(TreeEdge.import(3, [Buffer.alloc(96), Buffer.alloc(0)])).toBeUndefined();
  });
});

describe('proofs from tiles', () => {
  it.each(sizes.slice(1))(
    'audit 3: of inclusion verify for leaves of a log of %i, and are those of the whole tree',
    async (size) => {
      const tree = new LogTree(tilesOf(size), size);
      const root = await tree.root();
      expect(root).toEqual(rootOfHashes(leaves.slice(0, size)));
      for (const index of new Set([0, 1, 255, 256, size >> 1, size - 1].filter((i) => i < size))) {
        const proof = await tree.inclusion(index);
        expect(proof).toEqual(inclusionProof(leaves.slice(0, size), index));
        expect(verifyInclusion({ index, size, leafHash: leaves[index] as Buffer, proof, root })).toBe(true);
      }
    },
  );

  it.each(sizes.slice(1))('audit 4: of consistency verify between logs of all sizes and one of %i', async (size) => {
    const tree = new LogTree(tilesOf(size), size);
    const root2 = await tree.root();
    for (const size1 of sizes.filter((other) => other > 0 && other <= size)) {
      const proof = await tree.consistency(size1);
      expect(proof).toEqual(consistencyProof(leaves.slice(0, size), size1));
      const root1 = rootOfHashes(leaves.slice(0, size1));
      expect(verifyConsistency({ size1, size2: size, root1, root2, proof })).toBe(true);
    }
    expect(await tree.consistency(0)).toEqual([]);
  });
});

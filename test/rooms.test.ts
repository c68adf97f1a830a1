import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Import } from './support/imports.ts';
import { findCycles, importsOf, readImports } from './support/imports.ts';

const root = resolve(import.meta.dirname, '..');

/** What each room may import by value, besides itself and packages. */
const mayUse: Readonly<Record<string, readonly string[]>> = {
  'src/main': ['src/edge', 'src/control', 'src/node', 'src/cli', 'src/wire', 'src/core', 'src/base'],
  'src/edge': ['src/wire', 'src/core', 'src/base'],
  'src/control': ['src/core', 'src/base'],
  'src/node': ['src/wire', 'src/core', 'src/base'],
  'src/cli': ['src/wire', 'src/core', 'src/base'],
  'src/console': [],
  'src/wire': ['src/core', 'src/base'],
  'src/core/audit': ['src/core/policy', 'src/core/identity', 'src/base'],
  'src/core/policy': ['src/core/identity', 'src/base'],
  'src/core/identity': ['src/base'],
  'src/base': [],
};

/** What each room may know by `import type` on top of that. */
const mayKnow: Readonly<Record<string, readonly string[]>> = {
  'src/edge': ['src/control'],
  'src/console': ['src/core', 'src/base'],
  'src/core/policy': ['src/core/audit'],
  'src/core/identity': ['src/core/policy', 'src/core/audit'],
};

/** core is pure: these are arithmetic. Of forge only the DER writer: the rest of it is not for untrusted input. */
const coreModules = ['node:crypto', 'node:zlib', 'node:buffer', 'node-forge/lib/asn1.js', 'jose', 'yaml'];

function roomOf(path: string): string | undefined {
  return Object.keys(mayUse).find((room) => path === room || path.startsWith(`${room}/`));
}

/** `src/core` stands for every room in it. */
function covers(rooms: readonly string[] = [], target: string): boolean {
  return rooms.some((room) => target === room || target.startsWith(`${room}/`));
}

function complaint(i: Import): string | undefined {
  const room = roomOf(i.from);
  if (room === undefined) return `${i.from} is in no room: put it in one of ${Object.keys(mayUse).join(', ')}`;
  const where = `${i.from}:${i.line} (${i.text})`;
  if (!i.to.startsWith('src/')) {
    if (room.startsWith('src/core') && !i.typeOnly && !coreModules.includes(i.to))
      return `${where}: core is pure and may use only ${coreModules.join(', ')}`;
    if (i.to.startsWith('test/')) return `${where}: the product never imports its tests`;
    return undefined;
  }
  const target = roomOf(i.to);
  if (target === undefined) return `${where}: ${i.to} is in no room`;
  if (target === room || covers(mayUse[room], target)) return undefined;
  if (i.typeOnly && covers(mayKnow[room], target)) return undefined;
  return `${where}: ${room} may import only from ${mayUse[room]?.join(', ') || 'nothing'}, not from ${target}; imports go one way`;
}

describe('the rooms of src', () => {
  const imports = readImports(root, 'src');

  it('are imported one way only', () => {
    expect(imports.length).toBeGreaterThan(10);
    expect(imports.map(complaint).filter((c) => c !== undefined)).toEqual([]);
  });

  it('hold no two files that import each other by value', () => {
    expect(findCycles(imports).map((files) => `import cycle: ${files.join(' → ')}`)).toEqual([]);
  });
});

describe('the check on rooms', () => {
  const check = (from: string, source: string) => importsOf('/r', `/r/${from}`, source).map(complaint);

  it('names a value import from edge into control, with file, line and rule', () => {
    expect(check('src/edge/rest/app.ts', "\nimport { A } from '../../control/x.ts';")).toEqual([
      "src/edge/rest/app.ts:2 (import { A } from '../../control/x.ts'): src/edge may import only from src/wire, src/core, src/base, not from src/control; imports go one way",
    ]);
  });

  it('lets edge know control by type', () => {
    expect(check('src/edge/rest/app.ts', "import type { A } from '../../control/x.ts';")).toEqual([undefined]);
    expect(check('src/edge/rest/app.ts', "import { type A, type B } from '../../control/x.ts';")).toEqual([undefined]);
    expect(check('src/edge/rest/app.ts', "import { type A, B } from '../../control/x.ts';")[0]).toMatch(/not from/);
  });

  it('sees re-exports, dynamic imports and clauses over several lines', () => {
    expect(check('src/base/x.ts', "export * from '../core/audit/event.ts';")[0]).toMatch(/src\/base may import only/);
    expect(check('src/base/x.ts', "const x = await import('../core/audit/event.ts');")[0]).toMatch(/src\/base may/);
    expect(check('src/base/x.ts', "import {\n  A,\n  B,\n} from '../core/audit/event.ts';")[0]).toMatch(
      /src\/base may/,
    );
  });

  it('refuses input and output in core', () => {
    expect(check('src/core/audit/x.ts', "import { open } from 'node:fs';")[0]).toMatch(/core is pure/);
  });

  it('finds a cycle and not a diamond', () => {
    const files = (pairs: [string, string][]) =>
      pairs.map(([from, to]) => ({ from, to, line: 1, typeOnly: false, text: '' }));
    expect(
      findCycles(
        files([
          ['a', 'b'],
          ['b', 'c'],
          ['c', 'a'],
        ]),
      ),
    ).toEqual([['a', 'b', 'c', 'a']]);
    expect(
      findCycles(
        files([
          ['a', 'b'],
          ['a', 'c'],
          ['b', 'd'],
          ['c', 'd'],
        ]),
      ),
    ).toEqual([]);
  });
});

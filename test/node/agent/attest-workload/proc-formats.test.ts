import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import {
  parseCgroups,
  parseGroup,
  parseOwner,
  parsePasswd,
  parseStartTime,
} from '../../../../src/node/agent/attest-workload/proc-formats.ts';
import { expectAppError } from '../../../support/errors.ts';
import { statOf, statusOf } from './proc.ts';

/** Either a value, or an AppError: never another failure. */
function total<T>(parse: (text: string) => T): (text: string) => T | undefined {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      return undefined;
    }
  };
}

describe('the stat of a process', () => {
  it('gives the start time, whatever the process calls itself', () => {
    for (const comm of [
      'app',
      ') (',
      'a) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 99 (b',
      '(((',
      ')))',
      ' ',
      '',
      'x\n7 (y) S 1',
      ') S 1 1 1 0 -1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 99 1',
    ]) {
      expect(parseStartTime(statOf(7, comm, 4242))).toBe('4242');
    }
  });

  it('property: no name of a process changes its start time', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 15 }), fc.nat(), (comm, start) => {
        expect(parseStartTime(statOf(1, comm, start))).toBe(String(start));
      }),
    );
  });

  it('that is not as the kernel writes it is refused', async () => {
    for (const text of [
      '',
      '7',
      '7 (app',
      '7 (app)',
      '7 app S 1',
      statOf(7, 'app', '-1'),
      statOf(7, 'app', 'x'),
      `x${statOf(7, 'app', 1)}`,
      statOf(7, 'app', '1'.repeat(21)),
    ]) {
      await expectAppError(
        () => parseStartTime(text),
        'invalid',
        'The stat of a process is not as the kernel writes it.',
      );
    }
  });

  it.runIf(process.platform === 'linux')('of this very process is understood', () => {
    expect(parseStartTime(readFileSync('/proc/self/stat', 'utf8'))).toMatch(/^\d+$/);
    const { uid, gid, groups } = parseOwner(readFileSync('/proc/self/status', 'utf8'));
    expect([uid, gid]).toEqual([process.geteuid?.(), process.getegid?.()]);
    expect(groups.every(Number.isInteger)).toBe(true);
    expect(parseCgroups(readFileSync('/proc/self/cgroup', 'utf8')).length).toBeGreaterThan(0);
  });
});

describe('the status of a process', () => {
  it('gives the effective user and group, and the supplementary groups', () => {
    const status = statusOf(0, 0, [4, 27])
      .replace('Uid:\t0\t0', 'Uid:\t1000\t33')
      .replace('Gid:\t0\t0', 'Gid:\t1000\t34');
    expect(parseOwner(status)).toEqual({ uid: 33, gid: 34, groups: [4, 27] });
    expect(parseOwner(statusOf(1, 2, []))).toEqual({ uid: 1, gid: 2, groups: [] });
  });

  it('that lacks a line, has it twice, or has no numbers in it, is refused', async () => {
    const good = statusOf(1, 2, [3]);
    for (const text of [
      '',
      good.replace('Uid:', 'Xid:'),
      `${good}Uid:\t0\t0\t0\t0\n`,
      good.replace('Gid:\t2\t2\t2\t2', 'Gid:\t2\t2\t2'),
      good.replace('Groups:\t3', 'Groups:\t-3'),
      good.replace('Groups:\t3', 'Groups:\t4294967296'),
      good.replace('Uid:\t1\t1', 'Uid:\t1\t1e0'),
    ]) {
      await expectAppError(
        () => parseOwner(text),
        'invalid',
        'The status of a process is not as the kernel writes it.',
      );
    }
  });
});

describe('the cgroups of a process', () => {
  it('are read for v1, v2 and both, with colons in paths', () => {
    expect(parseCgroups('12:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\n')).toEqual([
      { controllers: 'cpu,cpuacct', path: '/a' },
      { controllers: 'name=systemd', path: '/b:c' },
      { controllers: '', path: '/d' },
    ]);
    expect(parseCgroups('')).toEqual([]);
  });

  it('that are not as the kernel writes them are refused', async () => {
    for (const text of ['x', '0:/', '0::relative', ':cpu:/a', '0::/a\nx', `${'0::/a\n'.repeat(257)}`]) {
      await expectAppError(() => parseCgroups(text), 'invalid', /The cgroup of a process is not/);
    }
  });
});

describe('account files', () => {
  it('give names by number; the first of two holds; comments, NIS lines and broken ones are passed over', () => {
    const users = parsePasswd(
      [
        'root:x:0:0:root:/root:/bin/sh',
        '# x:x:5:5:::',
        '+nis:x:6:6:::',
        'broken:x:7',
        'web:x:1000:1000::/:',
        'alias:x:1000:1000::/:',
        'neg:x:-1:1:::',
        'big:x:99999999999:1:::',
        ':x:8:8:::',
        'a b:x:9:9:::',
        'ü:x:10:10:::',
      ].join('\n'),
    );
    expect([...users]).toEqual([
      [0, 'root'],
      [1000, 'web'],
      [10, 'ü'],
    ]);
    expect([...parseGroup('root:x:0:\nadm:x:4:syslog,web\nx:4\n')]).toEqual([
      [0, 'root'],
      [4, 'adm'],
    ]);
  });
});

describe('every parser of /proc and /etc', () => {
  const samples = [
    statOf(7, 'a) (b', 99),
    statusOf(1, 2, [3, 4]),
    '0::/system.slice/a.service\n1:name=systemd:/b\n',
    'root:x:0:0:root:/root:/bin/sh\n',
  ];
  const parsers = [parseStartTime, parseOwner, parseCgroups, parsePasswd, parseGroup].map((parse) =>
    total<unknown>(parse),
  );

  it('fuzz: text of any kind is understood or refused', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ maxLength: 400 }), fc.string({ unit: 'binary', maxLength: 200 })), (text) => {
        for (const parse of parsers) parse(text);
      }),
      { numRuns: 500 },
    );
  });

  it('fuzz: a real sample with any bytes changed is understood or refused', () => {
    const changes = fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.constantFrom(...samples), changes, (sample, edits) => {
        const bytes = Buffer.from(sample);
        for (const [at, value] of edits) bytes[at % bytes.length] = value;
        for (const parse of parsers) parse(bytes.toString('utf8'));
      }),
      { numRuns: 500 },
    );
  });
});

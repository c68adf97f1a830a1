import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { isUnchanged, readCreateOnly, readIfMatch, toEtag } from '../../../src/edge/rest/etag.ts';
import { accepts } from '../../../src/edge/rest/negotiate.ts';
import { HttpError } from '../../../src/edge/rest/problem.ts';
import { parseTime, toTime } from '../../../src/edge/rest/time.ts';
import { expectAppError } from '../../support/errors.ts';

const now = Date.UTC(2026, 0, 1);

describe('entity tags', () => {
  it('come back as the revision they were made from', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (revision) => {
        expect(readIfMatch(toEtag(revision))).toBe(revision);
        expect(isUnchanged(`W/${toEtag(revision)}`, revision)).toBe(true);
        expect(isUnchanged(toEtag(revision), revision + 1)).toBe(false);
      }),
    );
  });

  it('read any header without a defect', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (header) => {
        for (const read of [() => readIfMatch(header), () => readCreateOnly(header), () => isUnchanged(header, 1)]) {
          try {
            read();
          } catch (error) {
            expect(error).toBeInstanceOf(AppError);
          }
        }
      }),
    );
  });

  it('are one revision or * in If-Match, and only * in the If-None-Match of a write', async () => {
    expect(readIfMatch(undefined)).toBeUndefined();
    expect(readIfMatch(' * ')).toBe('*');
    await expectAppError(() => readIfMatch('42'), 'invalid', /ETag in double quotes/);
    await expectAppError(() => readIfMatch(''), 'invalid');
    await expectAppError(() => readIfMatch('"1","2"'), 'invalid', /exactly one/);
    await expectAppError(() => readIfMatch('"042"'), 'precondition-failed');
    await expectAppError(() => readIfMatch('W/"42"'), 'precondition-failed');
    expect(readCreateOnly(undefined)).toBe(false);
    expect(readCreateOnly('*')).toBe(true);
    await expectAppError(() => readCreateOnly('"1"'), 'invalid');
  });
});

describe('times', () => {
  it('are RFC 3339 with an offset, or an age', () => {
    expect(parseTime('2026-01-01T00:00:00Z', 'since', now)).toBe(now);
    expect(parseTime('2026-01-01T05:30:00.25+05:30', 'since', now)).toBe(now + 250);
    expect(parseTime('15m', 'since', now)).toBe(now - 900_000);
    expect(parseTime('0s', 'since', now)).toBe(now);
    expect(parseTime('7d', 'since', now)).toBe(now - 7 * 86_400_000);
    expect(parseTime('250ms', 'since', now)).toBe(now - 250);
  });

  it('come back as they went', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }),
        (date) => {
          expect(parseTime(toTime(date.getTime()), 'since', now)).toBe(date.getTime());
        },
      ),
    );
  });

  it.each([
    '',
    'now',
    '15',
    '-15m',
    '1.5h',
    '15 m',
    '2026-01-01',
    '2026-02-30T25:00:00Z',
    '2026-01-01 00:00:00Z',
    '2026-01-01T00:00:00',
  ])('are not %j', async (text) => {
    const error = await expectAppError(() => parseTime(text, 'until', now), 'invalid', /^until is neither/);
    expect(error.details[0]?.pointer).toBe('/until');
  });
});

describe('Accept', () => {
  const offers = ['application/json', 'application/yaml'] as const;
  it.each([
    [undefined, 'application/json'],
    ['', 'application/json'],
    ['*/*', 'application/json'],
    ['application/*', 'application/json'],
    ['APPLICATION/YAML', 'application/yaml'],
    ['application/json;q=0.5, application/yaml;q=0.6', 'application/yaml'],
    ['application/json;q=0, */*', 'application/yaml'],
    ['text/html, */*;q=0.1', 'application/json'],
  ])('%j chooses %s', (header, type) => {
    expect(accepts(header, offers)).toBe(type);
  });

  it('refuses with 406 what is not on offer', () => {
    for (const header of ['text/html', 'application/json;q=0', 'application/json;q=x']) {
      expect(() => accepts(header, offers)).toThrow(HttpError);
    }
  });
});

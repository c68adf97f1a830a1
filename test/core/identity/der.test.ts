import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openDer, Tag } from '../../../src/core/identity/der-read.ts';
import * as der from '../../../src/core/identity/der-write.ts';
import { expectAppError } from '../../support/errors.ts';
import { accepts } from './mutate.ts';

const limits = { maxBytes: 4096 };
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const open = (text: string) => openDer(hex(text), limits);
const refused = async (text: string, why: RegExp): Promise<void> => {
  await expectAppError(() => open(text), 'invalid', why);
};

describe('lengths', () => {
  it.each([
    ['30 80 02 01 00 00 00', /does not allow/, 'indefinite'],
    ['02 81 01 00', /not minimal/, 'a long form where the short one does'],
    [`04 82 00 80 ${'00'.repeat(128)}`, /not minimal/, 'a leading zero'],
    ['04 84 00 00 00 01 00', /does not allow/, 'four bytes'],
    ['04 ff 00', /does not allow/, 'the reserved form'],
    ['04 02 00', /truncated/, 'more than there is'],
    ['04 83 ff ff ff', /truncated/, 'far more than there is'],
    ['04 82 01', /truncated/, 'cut within the length'],
    ['04', /truncated/, 'missing'],
    ['30 03 02 02 00', /truncated/, 'an inner one that leaves its container'],
    ['30 05 30 80 00 00 00', /does not allow/, 'an inner one that is indefinite'],
  ] as const)('%s is refused: %s (%s)', (text, why, _what) => refused(text, why));

  it('127 takes one byte, 128 two, 256 three', () => {
    expect(der.octetString(Buffer.alloc(127)).subarray(0, 2)).toEqual(hex('04 7f'));
    expect(der.octetString(Buffer.alloc(128)).subarray(0, 3)).toEqual(hex('04 81 80'));
    expect(der.octetString(Buffer.alloc(256)).subarray(0, 4)).toEqual(hex('04 82 01 00'));
    expect(der.octetString(Buffer.alloc(65536)).subarray(0, 5)).toEqual(hex('04 83 01 00 00'));
  });
});

describe('structure', () => {
  it.each([
    ['', /exactly one/, 'nothing'],
    ['05 00 05 00', /exactly one/, 'two elements'],
    ['05 00 00', /truncated/, 'a trailing byte'],
    ['1f 81 00 00', /tag/, 'a long-form tag'],
    ['bf 81 00 00', /tag/, 'a long-form context tag'],
    ['00 00', /tag/, 'end of contents'],
    ['10 00', /tag/, 'a primitive SEQUENCE'],
    ['24 03 04 01 00', /tag/, 'a constructed OCTET STRING'],
  ] as const)('%s is refused: %s (%s)', (text, why, _what) => refused(text, why));

  it('16 levels are read and 17 refused', async () => {
    const nest = (levels: number) => {
      let bytes: Buffer = der.nullValue();
      for (let i = 0; i < levels; i++) bytes = der.sequence(bytes);
      return bytes;
    };
    expect(openDer(nest(16), limits).any().tag).toBe(Tag.sequence);
    await expectAppError(() => openDer(nest(17), limits), 'invalid', /nests deeper than 16/);
    await expectAppError(() => openDer(nest(1000), limits), 'invalid', /nests deeper than 16/);
  });

  it('more bytes than the limit are not looked at', () =>
    expectAppError(() => openDer(Buffer.alloc(4097), limits), 'invalid', /longer than 4096/));

  it('an element of another type than expected is refused', async () => {
    await expectAppError(() => open('05 00').next(Tag.sequence), 'invalid', /structure/);
    await expectAppError(() => open('05 00').any().children(), 'invalid', /structure/);
    await expectAppError(() => open('05 00').any().boolean(), 'invalid', /structure/);
    await expectAppError(() => open('05 00').any().unsigned(), 'invalid', /structure/);
  });

  it('elements that are left over are refused', async () => {
    const fields = open('30 04 05 00 05 00').any().children();
    fields.next(Tag.null);
    await expectAppError(() => fields.end(), 'invalid', /more elements/);
    fields.next(Tag.null);
    fields.end();
    await expectAppError(() => fields.any(), 'invalid', /truncated/);
  });
});

describe('values', () => {
  const value = (text: string) => open(text).any();

  it('integers must be minimal and not negative', async () => {
    expect(value('02 01 00').small()).toBe(0);
    expect(value('02 02 00 80').small()).toBe(128);
    expect(value('02 05 00 ff ff ff ff').small()).toBe(0xffffffff);
    await expectAppError(() => value('02 02 00 7f').unsigned(), 'invalid', /minimal/);
    await expectAppError(() => value('02 01 80').unsigned(), 'invalid', /negative/);
    await expectAppError(() => value('02 00').unsigned(), 'invalid', /empty/);
    await expectAppError(() => value('02 05 01 00 00 00 00').small(), 'invalid', /too large/);
  });

  it('booleans are 00 or ff', async () => {
    expect(value('01 01 ff').boolean()).toBe(true);
    expect(value('01 01 00').boolean()).toBe(false);
    await expectAppError(() => value('01 01 01').boolean(), 'invalid', /boolean/);
    await expectAppError(() => value('01 02 ff ff').boolean(), 'invalid', /boolean/);
    await expectAppError(() => value('01 00').boolean(), 'invalid', /boolean/);
  });

  it('named bits have no trailing zeros', async () => {
    expect(value('03 02 07 80').namedBits()).toBe(1 << 0);
    expect(value('03 02 01 06').namedBits()).toBe((1 << 5) | (1 << 6));
    expect(value('03 03 07 00 80').namedBits()).toBe(1 << 8);
    expect(value('03 01 00').namedBits()).toBe(0);
    for (const bad of [
      '03 02 00 80',
      '03 02 06 80',
      '03 02 07 81',
      '03 02 08 00',
      '03 00',
      '03 01 01',
      '03 04 00 00 00 01',
    ]) {
      await expectAppError(() => value(bad).namedBits(), 'invalid', /bit string/);
    }
  });

  it('bit strings of octets have no unused bits', async () => {
    expect(value('03 03 00 01 02').octetsOfBitString()).toEqual(hex('01 02'));
    await expectAppError(() => value('03 02 01 02').octetsOfBitString(), 'invalid', /bit string/);
    await expectAppError(() => value('03 00').octetsOfBitString(), 'invalid', /bit string/);
  });

  it('object identifiers are not empty', () => expectAppError(() => value('06 00').oid(), 'invalid', /identifier/));

  it.each([
    ['17', '260101000000Z', Date.UTC(2026, 0, 1)],
    ['17', '491231235959Z', Date.UTC(2049, 11, 31, 23, 59, 59)],
    ['17', '500101000000Z', Date.UTC(1950, 0, 1)],
    ['18', '20500101000000Z', Date.UTC(2050, 0, 1)],
    ['18', '99991231235959Z', Date.UTC(9999, 11, 31, 23, 59, 59)],
    ['17', '240229120000Z', Date.UTC(2024, 1, 29, 12)],
  ])('time %s %s is read', (tag, text, expected) => {
    const bytes = Buffer.concat([hex(tag), Buffer.of(text.length), Buffer.from(text)]);
    expect(openDer(bytes, limits).any().time()).toBe(expected);
  });

  it.each([
    ['17', '2601010000Z'],
    ['17', '260101000000+0100'],
    ['17', '260101000000'],
    ['17', '260230000000Z'],
    ['17', '250229000000Z'],
    ['17', '260001000000Z'],
    ['17', '261301000000Z'],
    ['17', '260100000000Z'],
    ['17', '260101240000Z'],
    ['17', '260101006000Z'],
    ['17', '260101000060Z'],
    ['18', '20260101000000.5Z'],
    ['18', '260101000000Z'],
    ['04', '260101000000Z'],
  ])('time %s %s is refused', async (tag, text) => {
    const bytes = Buffer.concat([hex(tag), Buffer.of(text.length), Buffer.from(text)]);
    await expectAppError(() => openDer(bytes, limits).any().time(), 'invalid', /bad time/);
  });

  it('what is written is what is read', () => {
    const second = fc.integer({ min: Date.UTC(1950, 0, 1) / 1000, max: Date.UTC(9999, 11, 31) / 1000 });
    fc.assert(
      fc.property(second, (s) => {
        expect(
          openDer(der.time(s * 1000), limits)
            .any()
            .time(),
        ).toBe(s * 1000);
      }),
    );
    const serial = fc.uint8Array({ minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(serial, (bytes) => {
        const read = openDer(der.unsigned(bytes), limits).any().unsigned();
        expect(BigInt(`0x${read.toString('hex')}`)).toBe(BigInt(`0x${Buffer.from(bytes).toString('hex')}`));
      }),
    );
    const bits = fc.uniqueArray(fc.integer({ min: 0, max: 15 }), { minLength: 1 });
    fc.assert(
      fc.property(bits, (list) => {
        const expected = list.reduce((sum, bit) => sum | (1 << bit), 0);
        expect(openDer(der.namedBits(list), limits).any().namedBits()).toBe(expected);
      }),
    );
  });
});

it('any bytes are read or refused, quickly', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 512 }), (bytes) => void accepts(() => openDer(bytes, limits), 'invalid')),
    { numRuns: 2000 },
  );
  // The worst that fits: thousands of empty elements, and lengths that promise the most.
  accepts(() => openDer(Buffer.alloc(4096, Buffer.of(0x05, 0x00)), limits), 'invalid');
  accepts(() => openDer(Buffer.alloc(4096, 0x30), limits), 'invalid');
});

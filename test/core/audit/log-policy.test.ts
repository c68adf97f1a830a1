import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { encodeCheckpoint } from '../../../src/core/audit/checkpoint.ts';
import { cosigner, mldsa44Cosigner } from '../../../src/core/audit/cosignature.ts';
import { formatLogPolicy, isReached, parseLogPolicy, verifyCheckpoint } from '../../../src/core/audit/log-policy.ts';
import { encodeNote, signNote } from '../../../src/core/audit/note.ts';
import type { KeyType } from '../../../src/core/audit/note-key.ts';
import {
  ed25519PrivateKey,
  ed25519Signer,
  formatVkey,
  keyTypes,
  mldsa44PrivateKey,
  rawPublicKey,
} from '../../../src/core/audit/note-key.ts';
import { expectAppError } from '../../support/errors.ts';

const now = () => Date.UTC(2026, 0, 1);
const origin = 'example.com/log';
const text = encodeCheckpoint({ origin, size: 3, root: Buffer.alloc(32, 7) });

function keyPair(name: string, type: KeyType) {
  const seed = randomBytes(32);
  const publicKey = rawPublicKey(type === keyTypes.mldsa44 ? mldsa44PrivateKey(seed) : ed25519PrivateKey(seed));
  const make = {
    1: () => ed25519Signer(name, seed),
    4: () => cosigner(name, seed, now),
    6: () => mldsa44Cosigner(name, seed, now),
  };
  return { vkey: formatVkey({ name, type, publicKey }), signer: make[type]() };
}

const log = keyPair(origin, keyTypes.ed25519);
const witnesses = Object.fromEntries(
  ['X1', 'X2', 'X3', 'Y1', 'Y2', 'Y3'].map((name, i) => [
    name,
    keyPair(`${name}.example`, i % 2 === 0 ? keyTypes.cosignature : keyTypes.mldsa44),
  ]),
);
const vkeyOf = (name: string) => witnesses[name]?.vkey ?? '';

/** The example of the standard. */
const example = `# two organizations
log ${log.vkey}

witness X1 ${vkeyOf('X1')}
witness X2\t${vkeyOf('X2')} https://x2.example/
witness X3 ${vkeyOf('X3')}
  group X-witnesses 2 X1 X2 X3

witness Y1 ${vkeyOf('Y1')}
witness Y2 ${vkeyOf('Y2')}
witness Y3 ${vkeyOf('Y3')}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
`;
const parse = (policy: string) => parseLogPolicy(Buffer.from(policy));

function cosigned(names: readonly string[]): Buffer {
  const signers = names.flatMap((name) => witnesses[name]?.signer ?? []);
  return encodeNote(signNote(text, [log.signer, ...signers]));
}

describe('a log policy', () => {
  it.each([
    [['X1', 'X2', 'Y1'], true],
    [['X2', 'X3', 'Y3'], true],
    [['X1', 'X2', 'X3', 'Y1', 'Y2', 'Y3'], true],
    [['X1', 'Y1'], false],
    [['X1', 'X2', 'X3'], false],
    [['Y1', 'Y2', 'Y3'], false],
    [[], false],
  ])('audit 23: of the standard takes a checkpoint that %j have cosigned: %s', async (names, isTaken) => {
    const policy = parse(example);
    expect(isReached(policy, new Set(names))).toBe(isTaken);
    if (isTaken) expect(verifyCheckpoint(cosigned(names), policy)).toMatchObject({ origin, size: 3, witnesses: names });
    else
      await expectAppError(
        () => verifyCheckpoint(cosigned(names), policy),
        'proof-refused',
        /are not the quorum X-and-Y/,
      );
  });

  it('audit 23: that asks for no witness takes what the log has signed, and says who has cosigned besides', () => {
    const policy = parse(formatLogPolicy([log.vkey], 'https://example.com/log'));
    expect(policy.logs[0]?.url).toBe('https://example.com/log');
    expect(verifyCheckpoint(cosigned(['X1']), policy).witnesses).toEqual([]);
    expect(
      verifyCheckpoint(cosigned(['X1']), parse(example.replace('quorum X-and-Y', 'quorum none'))).witnesses,
    ).toEqual(['X1']);
  });

  it('audit 23: counts a witness only where its signature is good', async () => {
    const note = cosigned(['X1', 'X2', 'Y1']);
    const forged = Buffer.from(note.toString().replace('\n3\n', '\n4\n'));
    await expectAppError(() => verifyCheckpoint(forged, parse(example)), 'proof-refused', /does not verify/);
    const bare = encodeNote(signNote(text, [...['X1', 'X2', 'Y1'].flatMap((name) => witnesses[name]?.signer ?? [])]));
    await expectAppError(
      () => verifyCheckpoint(bare, parse(example)),
      'proof-refused',
      /no key that is trusted for it has signed it/,
    );
  });

  it('audit 18: takes no checkpoint of another log, even if a log of the policy has signed it', async () => {
    const other = keyPair('example.com/other', keyTypes.ed25519);
    const policy = parse(`log ${log.vkey}\nlog ${other.vkey}\nquorum none\n`);
    const note = encodeNote(signNote(text, [other.signer]));
    await expectAppError(
      () => verifyCheckpoint(note, policy),
      'proof-refused',
      /no key that is trusted for it has signed it/,
    );
    const unnamed = encodeNote(signNote(text.replace(origin, 'example.com/third'), [log.signer]));
    await expectAppError(
      () => verifyCheckpoint(unnamed, policy),
      'proof-refused',
      /the policy does not name the log example.com\/third/,
    );
  });

  it.each([
    ['it has no quorum line', `log ${log.vkey}\n`, 2],
    ['there is a quorum line already', 'quorum none\nquorum none\n', 2],
    ['the quorum is not defined on a line before', 'quorum X1\n', 1],
    ['a line begins with log, witness, group or quorum', 'logs x\n', 1],
    ['it contains a control character', 'quorum none\r\n', 1],
    ['the key is there already', `log ${log.vkey}\nlog ${log.vkey}\nquorum none\n`, 2],
    ['the key is of a witness, not of a log', `log ${vkeyOf('X1')}\nquorum none\n`, 1],
    ['the key is of a log, not of a witness', `witness a ${log.vkey}\nquorum none\n`, 1],
    ['the name is taken', `witness none ${vkeyOf('X1')}\nquorum none\n`, 1],
    ['the name is taken', `witness a ${vkeyOf('X1')}\nwitness a ${vkeyOf('X2')}\nquorum none\n`, 2],
    ['a member is not defined on a line before', 'group g any a\nquorum none\n', 1],
    ['a member is in a group already', `witness a ${vkeyOf('X1')}\ngroup g any a\ngroup h any a\nquorum none\n`, 3],
    ['a member is in a group already', `witness a ${vkeyOf('X1')}\ngroup g any a a\nquorum none\n`, 2],
    ['a group takes any, all, or 1 to 1 of its members', `witness a ${vkeyOf('X1')}\ngroup g 2 a\nquorum none\n`, 2],
    ['a group takes any, all, or 1 to 1 of its members', `witness a ${vkeyOf('X1')}\ngroup g 0 a\nquorum none\n`, 2],
    ['it is not of the form log <vkey> [<url>]', 'log a b c\nquorum none\n', 1],
  ])('audit 23: is refused when %s', async (why, policy, line) => {
    const error = await expectAppError(
      () => parse(policy),
      'invalid-document',
      `Not a log policy: line ${line}: ${why}.`,
    );
    expect(error.details).toMatchObject([{ line }]);
  });

  it('audit 23: is written so that it is read again, with witnesses, groups and quorum', () => {
    const policy = parse(
      `witness \u00e4 ${vkeyOf('X1')} https://x.example/w\nwitness b ${vkeyOf('X2')}\ngroup g 1 \u00e4 b\nquorum g\n`,
    );
    const written = formatLogPolicy([log.vkey], 'https://log.example', policy);
    expect(parse(written)).toEqual({ ...policy, logs: parse(`log ${log.vkey} https://log.example\nquorum none`).logs });
    expect(formatLogPolicy([log.vkey])).toBe(`log ${log.vkey}\nquorum none\n`);
  });

  it('takes names in any encoding for what they are', () => {
    const policy = Buffer.concat([Buffer.from(`witness \xe4\xff ${vkeyOf('X1')}\nquorum \xe4\xff\n`, 'latin1')]);
    expect(parseLogPolicy(policy).quorum).toBe('\xe4\xff');
  });

  it('is refused with an AppError or read, whatever the bytes', () => {
    const word = fc.constantFrom(
      'log',
      'witness',
      'group',
      'quorum',
      'none',
      'any',
      'all',
      '1',
      'a',
      'b',
      log.vkey,
      vkeyOf('X1'),
      '#',
      '\n',
      '\t',
      '\0',
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 30 }), (words) => {
        try {
          expect(parse(words.join(' ')).quorum).not.toBe('');
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

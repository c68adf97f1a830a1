import 'reflect-metadata';
import { createPublicKey, generateKeyPairSync, type KeyObject, sign, webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Pkcs10CertificateRequest, Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { createCsr, MAX_CSR_BYTES, parseCsr } from '../../../src/core/identity/csr.ts';
import * as der from '../../../src/core/identity/der-write.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { expectAppError } from '../../support/errors.ts';
import { hasOpenssl, openssl, opensslNote } from '../../support/openssl.ts';
import { tempDirectory } from '../../support/temp.ts';
import { accepts, mutationsOf } from './mutate.ts';

const refused = (bytes: Uint8Array, why: RegExp) => expectAppError(() => parseCsr(bytes), 'csr-refused', why);

const ecdsaSha256 = der.sequence(der.oid('ecdsaWithSha256'));
const rsaSha256 = der.sequence(der.oid('sha256WithRsa'), der.nullValue());

/** A request whose every part can be made wrong. */
function forge(
  key: { privateKey: KeyObject; publicKey: KeyObject },
  o: {
    version?: Buffer;
    subject?: Buffer;
    spki?: Buffer;
    attributes?: Buffer;
    more?: Buffer;
    algorithm?: Buffer;
    hash?: string;
    signature?: Buffer;
    tail?: Buffer;
  } = {},
): Buffer {
  const info = der.sequence(
    o.version ?? der.small(0),
    o.subject ?? der.sequence(),
    o.spki ?? key.publicKey.export({ format: 'der', type: 'spki' }),
    o.attributes ?? der.context(0),
    o.more ?? Buffer.alloc(0),
  );
  const signature = o.signature ?? sign(o.hash ?? 'sha256', info, key.privateKey);
  return der.sequence(info, o.algorithm ?? ecdsaSha256, der.bitString(signature), o.tail ?? Buffer.alloc(0));
}

const spkiOf = (key: KeyObject) => key.export({ format: 'der', type: 'spki' });
const p256 = generateKeyPair();
const other = generateKeyPair();

describe('a request that Writ makes', () => {
  it('is read back with the same key', () => {
    const { spki, kind } = parseCsr(createCsr(p256.privateKey));
    expect(spki).toEqual(spkiOf(p256.publicKey));
    expect(kind).toBe('p256');
  });

  it('names nobody, and verifies with another library', async () => {
    const request = new Pkcs10CertificateRequest(createCsr(p256.privateKey));
    expect(request.subject).toBe('');
    expect(request.extensions).toEqual([]);
    expect(await request.verify(webcrypto as never)).toBe(true);
  });

  it.skipIf(!hasOpenssl)(`verifies with openssl ${opensslNote}`, () => {
    const { status, output } = openssl(
      ['req', '-inform', 'DER', '-verify', '-noout', '-text'],
      createCsr(p256.privateKey),
    );
    expect(output).toMatch(/verify OK/);
    expect(status).toBe(0);
  });

  it.each(['P-384', 'RSA'])('can be signed by %s', (kind) => {
    const { privateKey } =
      kind === 'RSA'
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : generateKeyPairSync('ec', { namedCurve: 'P-384' });
    expect(parseCsr(createCsr(privateKey)).spki).toEqual(spkiOf(createPublicKey(privateKey)));
  });
});

describe('a request from somebody else', () => {
  it.skipIf(!hasOpenssl)(
    `made by openssl, with names and attributes, is taken for its key alone ${opensslNote}`,
    async () => {
      const { privateKey, publicKey } = generateKeyPair();
      const keyFile = join(await tempDirectory(), 'key.pem');
      await writeFile(keyFile, privateKey.export({ format: 'pem', type: 'pkcs8' }));
      const subject = [
        '-subj',
        '/O=Evil/CN=admin',
        '-addext',
        'subjectAltName=URI:spiffe://example.org/writ/control-plane',
      ];
      const { output } = openssl(['req', '-new', '-key', keyFile, ...subject]);
      const body = output.match(/-----BEGIN CERTIFICATE REQUEST-----([^-]*)/)?.[1] ?? '';
      const request = parseCsr(Buffer.from(body, 'base64'));
      expect(request.spki).toEqual(spkiOf(publicKey));
      expect(Object.keys(request).sort()).toEqual(['bits', 'kind', 'spki']);
    },
  );

  it('made by another library is taken', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const request = await Pkcs10CertificateRequestGenerator.create(
      { name: 'CN=anything', keys: keys as never, signingAlgorithm: algorithm },
      webcrypto as never,
    );
    const spki = Buffer.from(await webcrypto.subtle.exportKey('spki', keys.publicKey));
    expect(parseCsr(Buffer.from(request.rawData)).spki).toEqual(spki);
  });

  it('without the attributes field is taken', () => {
    expect(accepts(() => parseCsr(forge(p256, { attributes: Buffer.alloc(0) })), 'csr-refused')).toBe(true);
  });
});

describe('the signature', () => {
  it('of another key is refused', () =>
    refused(forge(p256, { spki: spkiOf(other.publicKey) }), /not signed by the key that it names/));

  it('over other bytes is refused', () =>
    refused(forge(p256, { signature: sign('sha256', Buffer.from('x'), p256.privateKey) }), /not signed by the key/));

  it('that is not a signature is refused', async () => {
    await refused(forge(p256, { signature: Buffer.alloc(0) }), /not signed by the key/);
    await refused(forge(p256, { signature: Buffer.alloc(70, 1) }), /not signed by the key/);
  });

  it('with an algorithm of the wrong family is refused', () =>
    refused(forge(p256, { algorithm: rsaSha256 }), /not signed by the key/));

  it('with SHA-1, or anything else that is not in the table, is refused', async () => {
    const sha1 = der.sequence(Buffer.from('06072a8648ce3d0401', 'hex'));
    await refused(forge(p256, { algorithm: sha1, hash: 'sha1' }), /signature algorithm is not one of/);
  });

  it('with parameters that do not belong there is refused', async () => {
    const withNull = der.sequence(der.oid('ecdsaWithSha256'), der.nullValue());
    await refused(forge(p256, { algorithm: withNull }), /odd signature algorithm/);
  });
});

describe('the key', () => {
  it('RSA-1024 is refused', () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
    return refused(forge(weak, { algorithm: rsaSha256 }), /RSA with 1024 bits; Writ takes 2048 to 4096/);
  });

  it('RSA-2047 is refused', () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 2047 });
    return refused(forge(weak, { algorithm: rsaSha256 }), /RSA with 2047 bits/);
  });

  it('RSA with more than 4096 bits is refused before anything is computed with it', () => {
    const modulus = Buffer.alloc(513, 0xff);
    const key = der.sequence(der.unsigned(modulus), der.small(65537));
    const spki = der.sequence(der.sequence(der.oid('rsaEncryption'), der.nullValue()), der.bitString(key));
    return refused(forge(p256, { spki, algorithm: rsaSha256 }), /RSA with 4104 bits/);
  });

  it('RSA with the exponent 3 is refused', () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 });
    return refused(forge(small, { algorithm: rsaSha256 }), /public exponent/);
  });

  it('other curves and Ed25519 are refused', async () => {
    for (const namedCurve of ['secp256k1', 'P-521', 'P-224']) {
      await refused(forge(generateKeyPairSync('ec', { namedCurve })), /curve other than P-256 and P-384/);
    }
    const ed = generateKeyPairSync('ed25519');
    await refused(forge(p256, { spki: spkiOf(ed.publicKey) }), /algorithm other than ECDSA and RSA/);
  });

  it('a curve that is given by parameters is refused', () => {
    const explicit = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' });
    return refused(forge(explicit), /structure/);
  });

  it('a point that is compressed, or not on the curve, is refused', async () => {
    const algorithm = der.sequence(der.oid('ecPublicKey'), der.oid('p256'));
    const point = spkiOf(p256.publicKey).subarray(-65);
    const compressed = Buffer.concat([Buffer.of(2 + ((point[64] ?? 0) & 1)), point.subarray(1, 33)]);
    await refused(forge(p256, { spki: der.sequence(algorithm, der.bitString(compressed)) }), /not uncompressed/);
    const hybrid = Buffer.concat([Buffer.of(6 + ((point[64] ?? 0) & 1)), point.subarray(1)]);
    await refused(forge(p256, { spki: der.sequence(algorithm, der.bitString(hybrid)) }), /not uncompressed/);
    const off = Buffer.from(point);
    off[64] = (off[64] ?? 0) ^ 1;
    await refused(forge(p256, { spki: der.sequence(algorithm, der.bitString(off)) }), /public key is not valid/);
  });
});

describe('the encoding', () => {
  it('a valid request is accepted, so the refusals below are for their own reasons', () => {
    expect(accepts(() => parseCsr(forge(p256)), 'csr-refused')).toBe(true);
  });

  it('trailing bytes are refused', async () => {
    await refused(Buffer.concat([forge(p256), Buffer.of(0)]), /truncated|exactly one/);
    await refused(Buffer.concat([forge(p256), forge(p256)]), /exactly one/);
    await refused(forge(p256, { tail: der.nullValue() }), /more elements/);
    await refused(forge(p256, { more: der.nullValue() }), /more elements/);
  });

  it('more than 16 KiB is refused, and just below is not', async () => {
    const padded = (size: number) => forge(p256, { subject: der.sequence(der.octetString(Buffer.alloc(size))) });
    const room = MAX_CSR_BYTES - padded(10_000).length + 10_000;
    expect(accepts(() => parseCsr(padded(room - 8)), 'csr-refused')).toBe(true);
    await refused(padded(room + 8), /longer than 16384/);
    await refused(Buffer.alloc(5_000_000, 0x30), /longer than 16384/);
  });

  it('a length that is not minimal is refused wherever it is, with a valid signature', async () => {
    const longNull = Buffer.from('058100', 'hex');
    await refused(forge(p256, { subject: der.sequence(longNull) }), /not minimal/);
    await refused(forge(p256, { attributes: der.context(0, longNull) }), /not minimal/);
    const request = forge(p256);
    await refused(Buffer.concat([Buffer.from('308200', 'hex'), request.subarray(2)]), /not minimal/);
  });

  it('an indefinite length is refused wherever it is', async () => {
    await refused(forge(p256, { subject: Buffer.from('30800000', 'hex') }), /does not allow/);
    await refused(forge(p256, { attributes: Buffer.from('a0800000', 'hex') }), /does not allow/);
  });

  it('deep nesting is refused', () => {
    let subject: Buffer = der.sequence();
    for (let i = 0; i < 2000; i++) subject = der.sequence(subject);
    return refused(forge(p256, { subject }), /nests deeper than 16/);
  });

  it('an unknown version is refused', () => refused(forge(p256, { version: der.small(1) }), /unknown version/));

  it('nothing, PEM and JSON are refused', async () => {
    await refused(Buffer.alloc(0), /exactly one/);
    await refused(Buffer.from('-----BEGIN CERTIFICATE REQUEST-----'), /Malformed/);
    await refused(Buffer.from('{"csr":"x"}'), /Malformed/);
  });
});

describe('fuzz', () => {
  let sample: Buffer;
  beforeAll(() => {
    sample = createCsr(p256.privateKey);
  });

  it('any bytes are refused with csr-refused and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(accepts(() => parseCsr(bytes), 'csr-refused')).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  it('a request that was changed anywhere is refused', () => {
    fc.assert(
      fc.property(mutationsOf(sample), (bytes) => {
        expect(accepts(() => parseCsr(bytes), 'csr-refused')).toBe(bytes.equals(sample));
      }),
      { numRuns: 1500 },
    );
  });
});

/**
 * A verifier of tiled transparency logs, written from the public formats alone and sharing nothing with src/:
 * c2sp.org/tlog-tiles, /tlog-checkpoint, /signed-note, /tlog-cosignature, and RFC 6962 §2.1 for the tree. It knows nothing of
 * what the entries mean.
 *
 * A log is a map from paths below its prefix to bytes. `verify` returns the size, or throws.
 *
 *   node verify.mjs <url of the log> <vkey>…
 */
import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const sha256 = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const leafHash = (entry) => sha256(Buffer.of(0), entry);
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

/** MTH of RFC 6962 §2.1, word for word, over leaf hashes. */
function treeHash(leaves) {
  if (leaves.length === 0) return sha256();
  if (leaves.length === 1) return leaves[0];
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return nodeHash(treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)));
}

function must(condition, what) {
  if (!condition) throw new Error(what);
}

function base64(text) {
  const bytes = Buffer.from(text, 'base64');
  must(bytes.toString('base64') === text, 'base64');
  return bytes;
}

export function parseVkey(vkey) {
  const [name, id, ...rest] = vkey.split('+');
  const material = base64(rest.join('+'));
  const keyId = sha256(`${name}\n`, material).subarray(0, 4);
  must(name !== '' && keyId.toString('hex') === id, 'vkey');
  return { name, keyId, type: material[0], key: material.subarray(1) };
}

function publicKey({ type, key }) {
  if (type === 1 || type === 4) {
    return createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') } });
  }
  must(type === 6, 'key type');
  return createPublicKey({ format: 'jwk', key: { kty: 'AKP', alg: 'ML-DSA-44', pub: key.toString('base64url') } });
}

const u64 = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};
const opaque8 = (text) => Buffer.concat([Buffer.of(Buffer.byteLength(text)), Buffer.from(text)]);

/** The message that a key of its type signs for a checkpoint. */
function signedMessage(key, signature, text, checkpoint) {
  if (key.type === 1) return { message: Buffer.from(text), signature };
  const time = signature.subarray(0, 8);
  const rest = signature.subarray(8);
  must(time.length === 8, 'timestamp');
  if (key.type === 4) {
    return { message: Buffer.from(`cosignature/v1\ntime ${time.readBigUInt64BE()}\n${text}`), signature: rest };
  }
  const message = Buffer.concat([
    Buffer.from('subtree/v1\n\0'),
    opaque8(key.name),
    time,
    opaque8(checkpoint.origin),
    u64(0),
    u64(checkpoint.size),
    checkpoint.root,
  ]);
  return { message, signature: rest };
}

/**
 * @param {readonly string[]} vkeys of the log: all of them must have signed
 * @param {{ vkeys: readonly string[], quorum: number }} witnesses of whom so many must have cosigned
 */
export function openCheckpoint(bytes, vkeys, witnesses = { vkeys: [], quorum: 0 }) {
  const note = bytes.toString('utf8');
  must(Buffer.from(note).equals(bytes), 'UTF-8');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the standard names them
  must(!/[\x00-\x09\x0b-\x1f]/.test(note), 'control character');
  const split = note.lastIndexOf('\n\n');
  must(split >= 0 && note.endsWith('\n'), 'note');
  const text = note.slice(0, split + 1);
  const lines = note.slice(split + 2, -1).split('\n');
  const [origin, size, root] = text.split('\n');
  must(origin !== '' && /^(0|[1-9]\d*)$/.test(size), 'size');
  const checkpoint = { origin, size: Number(size), root: base64(root) };
  must(checkpoint.root.length === 32 && Number.isSafeInteger(checkpoint.size), 'root');
  const keys = vkeys.map(parseVkey);
  const cosigners = witnesses.vkeys.map(parseVkey);
  must(
    cosigners.every(({ type }) => type === 4 || type === 6),
    'witness key type',
  );
  const signed = new Set();
  for (const line of lines) {
    const match = /^\u2014 ([^\s+]+) (\S+)$/u.exec(line);
    must(match !== null, 'signature line');
    const blob = base64(match[2]);
    must(blob.length > 4, 'signature');
    for (const key of [...keys, ...cosigners]) {
      if (key.name !== match[1] || !key.keyId.equals(blob.subarray(0, 4))) continue;
      const { message, signature } = signedMessage(key, blob.subarray(4), text, checkpoint);
      must(verifySignature(null, message, publicKey(key), signature), `signature of ${key.name}`);
      signed.add(key);
    }
  }
  // Stricter than the standard asks for: all of the keys must have signed.
  must(
    keys.every((key) => signed.has(key)),
    'not signed by all keys',
  );
  must(cosigners.filter((key) => signed.has(key)).length >= witnesses.quorum, 'not cosigned by enough witnesses');
  must(
    keys.every(({ name }) => name === origin),
    'origin',
  );
  return checkpoint;
}

function tilePath(level, index, width) {
  const groups = [String(index % 1000).padStart(3, '0')];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`);
  }
  return `tile/${level}/${groups.join('/')}${width === 256 ? '' : `.p/${width}`}`;
}

/** The paths of all tiles and bundles of a log of this size. */
export function tilePaths(size) {
  const paths = [];
  const add = (level, count) => {
    for (let index = 0; index * 256 < count; index++)
      paths.push(tilePath(level, index, Math.min(256, count - index * 256)));
  };
  add('entries', size);
  for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / 256)) add(level, count);
  return paths;
}

function readEntries(bytes) {
  const entries = [];
  for (let at = 0; at < bytes.length; ) {
    must(at + 2 <= bytes.length, 'entry');
    const end = at + 2 + bytes.readUInt16BE(at);
    must(end <= bytes.length, 'entry');
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return entries;
}

/**
 * @param {(path: string) => Buffer | undefined} get
 * @param {readonly string[]} vkeys all of which must have signed
 * @param witnesses see openCheckpoint
 */
export function verify(get, vkeys, witnesses) {
  must(vkeys.length > 0, 'whom to trust');
  const read = (path) => {
    const bytes = get(path);
    must(bytes !== undefined, `no ${path}`);
    return bytes;
  };
  const { size, root } = openCheckpoint(read('checkpoint'), vkeys, witnesses);
  const leaves = [];
  for (let index = 0; index * 256 < size; index++) {
    const width = Math.min(256, size - index * 256);
    const entries = readEntries(read(tilePath('entries', index, width)));
    must(entries.length === width, `entries of bundle ${index}`);
    leaves.push(...entries.map(leafHash));
  }
  for (let level = 0, hashes = leaves; hashes.length > 0; level++) {
    const above = [];
    for (let index = 0; index * 256 < hashes.length; index++) {
      const expected = hashes.slice(index * 256, index * 256 + 256);
      const tile = read(tilePath(level, index, expected.length));
      must(tile.equals(Buffer.concat(expected)), `tile ${level}/${index}`);
      if (expected.length === 256) above.push(treeHash(expected));
    }
    hashes = above;
  }
  must(treeHash(leaves).equals(root), 'root');
  return size;
}

/** All of a log over HTTP. */
export async function download(url, vkeys) {
  const files = new Map();
  const fetchInto = async (path) => {
    const response = await fetch(`${url}/${path}`);
    must(response.ok, `${path}: ${response.status}`);
    files.set(path, Buffer.from(await response.arrayBuffer()));
  };
  await fetchInto('checkpoint');
  const { size } = openCheckpoint(files.get('checkpoint'), vkeys);
  for (const path of tilePaths(size)) await fetchInto(path);
  return files;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [url, ...vkeys] = process.argv.slice(2);
  const files = await download(url.replace(/\/+$/, ''), vkeys);
  process.stdout.write(`${verify((path) => files.get(path), vkeys)}\n`);
}

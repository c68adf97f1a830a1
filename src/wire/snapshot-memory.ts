import type { Policy } from '../core/policy/model.ts';
import type { SnapshotContent } from '../core/policy/snapshot.ts';
import { decodeSnapshotContent, encodeSnapshotContent } from './snapshot-content.ts';

/**
 * Encoding and decoding of one snapshot after the other, of which each is mostly the one before. What they give is what
 * `encodeSnapshotContent` and `decodeSnapshotContent` give, byte for byte and value for value: only the time is another.
 */

/** What stands beside a policy that is encoded by itself. */
const nothing: SnapshotContent = Object.freeze({
  policies: [],
  services: [],
  bundle: { trustDomain: 'x', roots: [], jwks: { keys: [] }, sequence: 1 },
});

/** For the many snapshots of a control plane, which hold the same policies again and again. */
export class SnapshotEncoder {
  /** The field of a content that a policy is. */
  readonly #fields = new WeakMap<Policy, Buffer>();
  readonly #restLength = encodeSnapshotContent(nothing).length;

  encode(content: SnapshotContent): Buffer {
    const policies = content.policies.map((policy) => this.#fieldOf(policy));
    // Fields are written in the order of their numbers, and that of policies is the lowest.
    return Buffer.concat([...policies, encodeSnapshotContent({ ...content, policies: [] })]);
  }

  #fieldOf(policy: Policy): Buffer {
    const known = this.#fields.get(policy);
    if (known !== undefined) return known;
    const both = encodeSnapshotContent({ ...nothing, policies: [policy] });
    // A copy, so that the rest can go.
    const field = Buffer.from(both.subarray(0, both.length - this.#restLength));
    this.#fields.set(policy, field);
    return field;
  }
}

/** Numbers of the fields of a content that are policies. */
const POLICIES = 1;
const EGRESS = 9;

/** For a sidecar: a policy whose bytes are those of the snapshot before is the very same value. */
export class SnapshotDecoder {
  #known: ReadonlyMap<string, Policy> = new Map();

  /** Throws as `decodeSnapshotContent` does; then the snapshot before is still the one before. */
  decode(bytes: Buffer): SnapshotContent {
    const fields = policyFields(bytes);
    if (fields === undefined) return decodeSnapshotContent(bytes);
    const content = this.#known.size === 0 ? decodeSnapshotContent(bytes) : this.#decodeNews(bytes, fields);
    const [policies, egress] = [content.policies.values(), content.egress?.values()];
    const known = new Map<string, Policy>();
    for (const { number, key } of fields) {
      const policy = (number === POLICIES ? policies : egress)?.next().value;
      if (policy !== undefined) known.set(key, policy);
    }
    this.#known = known;
    return content;
  }

  #decodeNews(bytes: Buffer, fields: readonly PolicyField[]): SnapshotContent {
    const news = decodeOrWhole(withoutKnown(bytes, fields, this.#known), bytes);
    const [policies, egress] = [news.policies.values(), news.egress?.values()];
    const all = { policies: [] as Policy[], egress: [] as Policy[] };
    for (const { number, key } of fields) {
      const list = number === POLICIES ? 'policies' : 'egress';
      const policy = this.#known.get(key) ?? (list === 'policies' ? policies : egress)?.next().value;
      if (policy === undefined) return decodeSnapshotContent(bytes);
      all[list].push(policy);
    }
    return Object.freeze({
      ...news,
      policies: Object.freeze(all.policies),
      ...(all.egress.length > 0 && { egress: Object.freeze(all.egress) }),
    });
  }
}

/** What is wrong is said as the whole content has it, with its place in there. */
function decodeOrWhole(part: Buffer, whole: Buffer): SnapshotContent {
  try {
    return decodeSnapshotContent(part);
  } catch (error) {
    decodeSnapshotContent(whole);
    throw error;
  }
}

interface PolicyField {
  readonly number: typeof POLICIES | typeof EGRESS;
  /** Tells it apart: its bytes, with its number. */
  readonly key: string;
  readonly start: number;
  readonly end: number;
}

function withoutKnown(bytes: Buffer, fields: readonly PolicyField[], known: ReadonlyMap<string, Policy>): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const { key, start, end } of fields) {
    if (!known.has(key)) continue;
    parts.push(bytes.subarray(at, start));
    at = end;
  }
  parts.push(bytes.subarray(at));
  return Buffer.concat(parts);
}

/**
 * Where policies stand in a message (Protocol Buffers, "Encoding"). Undefined for anything that no encoder of ours writes:
 * then the whole is decoded, which says what is wrong with it if anything is.
 */
function policyFields(bytes: Buffer): readonly PolicyField[] | undefined {
  const fields: PolicyField[] = [];
  let at = 0;
  const varint = (): number | undefined => {
    let value = 0;
    // Longer ones are no tag and no length of ours.
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = bytes[at];
      if (byte === undefined) return undefined;
      at += 1;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const start = at;
    const tag = varint();
    if (tag === undefined) return undefined;
    const [number, type] = [tag >>> 3, tag & 7];
    // A number (0) or something with its length before it (2): a content has nothing else.
    const value = varint();
    if (value === undefined || (type !== 0 && type !== 2)) return undefined;
    if (type === 2) at += value;
    if (at > bytes.length) return undefined;
    if (number !== POLICIES && number !== EGRESS) continue;
    if (type !== 2) return undefined;
    fields.push({ number, start, end: at, key: bytes.toString('latin1', start, at) });
  }
  // Of two that are the same, one could stand for both.
  return new Set(fields.map(({ key }) => key)).size === fields.length ? fields : undefined;
}

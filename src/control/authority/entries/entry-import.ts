import type { Finding } from '../../../base/errors.ts';
import { controlPlaneId } from '../../../core/identity/spiffe-id.ts';
import type { ImportItem, ImportOrder } from './entry-batch.ts';

/** Something to know of an import: what is called otherwise here, or was left out. */
export interface ImportWarning {
  readonly code: 'parent-mapped' | 'ids-not-kept';
  readonly detail: string;
}

export interface SpireOrder extends ImportOrder {
  readonly warnings: readonly ImportWarning[];
}

export const MAX_IMPORTED = 10_000;
/** Parents that are named one by one. */
const MAX_WARNINGS = 50;

/**
 * Reads entries as SPIRE has them: what `spire-server entry create -data` takes, and what `spire-server entry show -output
 * json` prints, where IDs are objects and times are texts.
 *
 * SPIRE's own names become Writ's: the parent `/spire/server` is the control plane, `/spire/agent/<method>/…` is
 * `/writ/agent/<method>/…`. What has no equivalent is a finding: entries that make administrators (`admin`), authorities
 * (`downstream`) or secrets elsewhere (`store_svid`), and every field that is not known here, unless it is empty.
 */
export function readSpireEntries(document: unknown, trustDomain: string): SpireOrder {
  const findings: Finding[] = [];
  const items: ImportItem[] = [];
  const notes = new Notes(trustDomain);
  const list = isObject(document) ? document.entries : undefined;
  if (!Array.isArray(list)) {
    findings.push({ code: 'wrong-type', pointer: '/entries', message: 'must be a list of entries, in an object' });
  } else if (list.length > MAX_IMPORTED) {
    findings.push({ code: 'out-of-range', pointer: '/entries', message: `must have at most ${MAX_IMPORTED} items` });
  } else {
    for (const [index, value] of list.entries()) {
      const reader = new EntryReader(value, `/entries/${index}`, findings);
      const item = reader.read(notes);
      if (item !== undefined) items.push(item);
    }
  }
  return { items, findings, pointerOf: toSpirePointer, warnings: notes.warnings() };
}

/** What Writ calls `/spiffeId` is `/spiffe_id` there. */
function toSpirePointer(pointer: string): string {
  return pointer.replace(/^\/[^/]+/, (name) => spireNames[name] ?? name);
}

const spireNames: Readonly<Record<string, string>> = {
  '/spiffeId': '/spiffe_id',
  '/parentId': '/parent_id',
  '/x509TtlSeconds': '/x509_svid_ttl',
  '/jwtTtlSeconds': '/jwt_svid_ttl',
  '/dnsNames': '/dns_names',
  '/federatesWith': '/federates_with',
  '/expiresAt': '/expires_at',
};

const noEquivalent: Readonly<Record<string, string>> = {
  admin: 'makes an administrator, and in Writ administrators have tokens',
  downstream: 'makes an authority, and in Writ no workload is one',
  store_svid: 'puts identities into a secret store, which Writ does not',
  storeSvid: 'puts identities into a secret store, which Writ does not',
};

const known = new Set([
  ...['spiffe_id', 'parent_id', 'selectors', 'x509_svid_ttl', 'ttl', 'jwt_svid_ttl', 'federates_with', 'dns_names'],
  ...['expires_at', 'entryExpiry', 'entry_expiry', 'hint', 'id', 'entry_id', 'revision_number', 'created_at'],
]);

/** One entry. What is wrong with it goes to the findings. */
class EntryReader {
  readonly #value: unknown;
  readonly #pointer: string;
  readonly #findings: Finding[];
  #failed = false;

  constructor(value: unknown, pointer: string, findings: Finding[]) {
    this.#value = value;
    this.#pointer = pointer;
    this.#findings = findings;
  }

  read(notes: Notes): ImportItem | undefined {
    const value = this.#value;
    if (!isObject(value)) return this.#refuse('', 'wrong-type', 'must be an object');
    this.#refuseStrange(value);
    const input = {
      spiffeId: this.#id(value, 'spiffe_id'),
      parentId: notes.mapped(this.#id(value, 'parent_id')),
      selectors: this.#selectors(value),
      x509TtlSeconds: this.#seconds(value, 'x509_svid_ttl') ?? this.#seconds(value, 'ttl'),
      jwtTtlSeconds: this.#seconds(value, 'jwt_svid_ttl'),
      federatesWith: this.#texts(value, 'federates_with').map((text) => text.replace(/^spiffe:\/\//, '')),
      dnsNames: this.#texts(value, 'dns_names'),
      expiresAt: this.#expiry(value),
      hint: this.#text(value, 'hint') ?? '',
    };
    if (input.selectors.length === 0 && !this.#failed) this.#refuse('/selectors', 'missing-field', 'is missing');
    if (isFilled(value.id) || isFilled(value.entry_id)) notes.hasId();
    return this.#failed ? undefined : { pointer: this.#pointer, input };
  }

  #refuseStrange(value: Readonly<Record<string, unknown>>): void {
    for (const [name, member] of Object.entries(value)) {
      const pointer = `/${name.slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1')}`;
      const why = Object.hasOwn(noEquivalent, name) ? noEquivalent[name] : undefined;
      if (known.has(name) || !isFilled(member)) continue;
      if (why !== undefined) this.#refuse(pointer, 'no-equivalent', `${why}: leave the entry out`);
      else this.#refuse(pointer, 'unknown-field', 'is not known here, and is not empty');
    }
  }

  /** A text, or `{trust_domain, path}`. */
  #id(value: Readonly<Record<string, unknown>>, name: string): string {
    const id = value[name];
    if (typeof id === 'string') return id;
    if (isObject(id) && typeof id.trust_domain === 'string' && (id.path === undefined || typeof id.path === 'string')) {
      return `spiffe://${id.trust_domain}${id.path ?? ''}`;
    }
    if (id === undefined) this.#refuse(`/${name}`, 'missing-field', 'is missing');
    else this.#refuse(`/${name}`, 'wrong-type', 'must be a SPIFFE ID, or an object with trust_domain and path');
    return '';
  }

  #selectors(value: Readonly<Record<string, unknown>>): readonly string[] {
    const found: string[] = [];
    for (const [index, one] of this.#list(value, 'selectors').entries()) {
      if (isObject(one) && typeof one.type === 'string' && typeof one.value === 'string') {
        found.push(`${one.type}:${one.value}`);
      } else this.#refuse(`/selectors/${index}`, 'wrong-type', 'must be an object with type and value');
    }
    return found;
  }

  #texts(value: Readonly<Record<string, unknown>>, name: string): readonly string[] {
    const list = this.#list(value, name);
    const texts = list.filter((one) => typeof one === 'string');
    if (texts.length < list.length) this.#refuse(`/${name}`, 'wrong-type', 'must be a list of texts');
    return texts;
  }

  #list(value: Readonly<Record<string, unknown>>, name: string): readonly unknown[] {
    const list = value[name] ?? [];
    if (Array.isArray(list)) return list;
    this.#refuse(`/${name}`, 'wrong-type', 'must be a list');
    return [];
  }

  #text(value: Readonly<Record<string, unknown>>, name: string): string | undefined {
    const text = value[name] ?? undefined;
    if (text === undefined || typeof text === 'string') return text;
    return this.#refuse(`/${name}`, 'wrong-type', 'must be a text');
  }

  /** 0 is SPIRE's word for its default. */
  #seconds(value: Readonly<Record<string, unknown>>, name: string): number | null {
    const number = value[name] ?? 0;
    const seconds = typeof number === 'string' && /^\d{1,15}$/.test(number) ? Number(number) : number;
    if (typeof seconds === 'number' && Number.isSafeInteger(seconds)) return seconds === 0 ? null : seconds;
    this.#refuse(`/${name}`, 'wrong-type', 'must be a whole number of seconds');
    return null;
  }

  /** Seconds since the epoch; the file and the listing name it differently. */
  #expiry(value: Readonly<Record<string, unknown>>): number | null {
    for (const name of ['expires_at', 'entryExpiry', 'entry_expiry']) {
      const seconds = this.#seconds(value, name);
      if (seconds !== null) return seconds * 1000;
    }
    return null;
  }

  #refuse(pointer: string, code: string, message: string): undefined {
    this.#failed = true;
    this.#findings.push({ code, pointer: `${this.#pointer}${pointer}`, message });
    return undefined;
  }
}

/** What is called otherwise here, each told once. */
class Notes {
  readonly #origin: string;
  readonly #controlPlane: string;
  readonly #parents = new Map<string, { readonly to: string; count: number }>();
  #ids = 0;

  constructor(trustDomain: string) {
    this.#origin = `spiffe://${trustDomain}`;
    this.#controlPlane = controlPlaneId(trustDomain).uri;
  }

  mapped(parentId: string): string {
    const to = this.#toOurs(parentId);
    if (to === parentId) return parentId;
    const found = this.#parents.get(parentId) ?? { to, count: 0 };
    found.count += 1;
    this.#parents.set(parentId, found);
    return to;
  }

  hasId(): void {
    this.#ids += 1;
  }

  warnings(): readonly ImportWarning[] {
    const parents = [...this.#parents].map(([from, { to, count }]) => ({
      code: 'parent-mapped' as const,
      detail: `${from}, the parent of ${count === 1 ? 'one entry' : `${count} entries`}, is ${to} here.`,
    }));
    const more = parents.length - MAX_WARNINGS;
    return [
      ...parents.slice(0, MAX_WARNINGS),
      ...(more > 0 ? [{ code: 'parent-mapped' as const, detail: `So are ${more} other parents.` }] : []),
      ...(this.#ids > 0 ? [{ code: 'ids-not-kept' as const, detail: 'Entries get ids of their own here.' }] : []),
    ];
  }

  #toOurs(parentId: string): string {
    if (parentId === `${this.#origin}/spire/server`) return this.#controlPlane;
    const agents = `${this.#origin}/spire/agent/`;
    return parentId.startsWith(agents) ? `${this.#origin}/writ/agent/${parentId.slice(agents.length)}` : parentId;
  }
}

/** Whether it says anything: SPIRE prints every field, most of them empty. */
function isFilled(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '' || value === '0')
    return false;
  return !(Array.isArray(value) && value.length === 0) && !(isObject(value) && Object.keys(value).length === 0);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

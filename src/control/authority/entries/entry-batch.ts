import type { Finding } from '../../../base/errors.ts';
import { AppError } from '../../../base/errors.ts';
import type { Entry, EntryRow } from './entry.ts';
import { columnsOf, fingerprintOf, isSame, toEntry } from './entry.ts';
import type { EntryInput, EntrySpec } from './entry-input.ts';
import { checkEntryInput } from './entry-input.ts';
import type { Write } from './entry-writes.ts';
import {
  alreadyThere,
  buryExpired,
  insertRows,
  labelsFor,
  newRow,
  otherLabels,
  readSiblings,
  refusePast,
  twinOf,
} from './entry-writes.ts';

/** One of many entries that come together. */
export interface ImportItem {
  /** Where it stands in what the caller sent (RFC 6901): its findings point below it. */
  readonly pointer: string;
  readonly input: EntryInput;
}

/** What came together: the entries, and what was found wrong while they were read. */
export interface ImportOrder {
  readonly items: readonly ImportItem[];
  readonly findings?: readonly Finding[];
  /** How the caller calls what a finding of an item points at. Default: as Writ does. */
  readonly pointerOf?: (pointer: string) => string;
}

export interface Imported {
  readonly created: readonly Entry[];
  /** There already, exactly like this. */
  readonly unchanged: readonly Entry[];
}

/** Findings that are shown; of more, their number is. */
const MAX_FINDINGS = 100;

interface Checked {
  readonly pointer: string;
  readonly spec: EntrySpec;
}

/** Creates all or throws: `invalid` when items are wrong in themselves, `conflict` when they contradict what is there. */
export async function createAll(
  order: ImportOrder,
  deps: { readonly write: Write; readonly trustDomain: string; readonly makeId: () => string },
): Promise<Imported> {
  const { write, makeId } = deps;
  const specs = checkAll(order, deps.trustDomain, write.now);
  const siblings = await readSiblings(
    write,
    specs.map(({ spec }) => spec.spiffeId),
  );
  const { fresh, unchanged } = compareAll(specs, siblings, write.now);
  if (fresh.length === 0) return { created: [], unchanged: unchanged.map(toEntry) };
  const touched = [...new Set(fresh.map(({ spec }) => spec.spiffeId))];
  await buryExpired(
    write,
    touched.flatMap((spiffeId) => siblings.get(spiffeId) ?? []),
  );
  const at = { revision: await write.revision(), now: write.now };
  // In the order given, which is that of their age.
  const ids = fresh.map(makeId).sort();
  const rows = fresh.map(({ spec, labels }, index) => newRow(ids[index] ?? makeId(), spec, labels, at));
  await insertRows(write, rows);
  return { created: rows.map(toEntry), unchanged: unchanged.map(toEntry) };
}

/** Each in itself, and none twice. */
function checkAll(order: ImportOrder, trustDomain: string, now: number): readonly Checked[] {
  const { items, pointerOf = (pointer) => pointer } = order;
  const findings: Finding[] = [...(order.findings ?? [])];
  const places = new Map<string, string>();
  const specs: Checked[] = [];
  for (const { pointer, input } of items) {
    try {
      const spec = checkEntryInput(input, trustDomain);
      refusePast(spec, now);
      const fingerprint = fingerprintOf(spec);
      const first = places.get(fingerprint);
      if (first === undefined) places.set(fingerprint, pointer);
      else findings.push({ code: 'repeated', pointer, message: `has parent, SPIFFE ID and selectors of ${first}` });
      specs.push({ pointer, spec });
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'invalid') throw error;
      findings.push(...error.details.map((one) => ({ ...one, pointer: `${pointer}${pointerOf(one.pointer ?? '')}` })));
    }
  }
  if (findings.length > 0) throw refusal('invalid', 'They are not valid', findings);
  return specs;
}

interface Fresh {
  readonly spec: EntrySpec;
  readonly labels: Readonly<Record<string, string>>;
}

/** With what is there, and with each other: labels belong to a SPIFFE ID. */
function compareAll(
  specs: readonly Checked[],
  siblings: ReadonlyMap<string, readonly EntryRow[]>,
  now: number,
): { readonly fresh: readonly Fresh[]; readonly unchanged: readonly EntryRow[] } {
  const findings: Finding[] = [];
  const fresh: Fresh[] = [];
  const unchanged: EntryRow[] = [];
  const given = new Map<string, Readonly<Record<string, string>>>();
  for (const { pointer, spec } of specs) {
    const conflict = (message: string) => findings.push({ code: 'conflict', pointer, message });
    const others = siblings.get(spec.spiffeId) ?? [];
    const { labels, contradicts } = labelsFor(
      { ...spec, labels: spec.labels ?? given.get(spec.spiffeId) },
      others,
      now,
    );
    const twin = twinOf(spec, others, now);
    if (twin !== undefined && isSame({ ...twin, fingerprint: fingerprintOf(spec) }, columnsOf(spec, labels))) {
      unchanged.push(twin);
      continue;
    }
    const first = given.get(spec.spiffeId);
    if (twin !== undefined) conflict(alreadyThere(spec, twin).message);
    else if (contradicts !== undefined) conflict(otherLabels(spec, contradicts).message);
    else if (first !== undefined && JSON.stringify(first) !== JSON.stringify(labels)) {
      conflict(`Labels belong to a SPIFFE ID, and an entry before this one gives ${spec.spiffeId} others.`);
    } else given.set(spec.spiffeId, labels);
    fresh.push({ spec, labels });
  }
  if (findings.length > 0) throw refusal('conflict', 'They contradict each other, or entries that exist', findings);
  return { fresh, unchanged };
}

function refusal(code: 'invalid' | 'conflict', what: string, findings: readonly Finding[]): AppError {
  const [first] = findings;
  const more = findings.length > 1 ? ` (and ${findings.length - 1} more)` : '';
  return new AppError(code, `No entry was created. ${what}: ${first?.pointer ?? ''} ${first?.message ?? ''}${more}.`, {
    details: findings.slice(0, MAX_FINDINGS),
  });
}

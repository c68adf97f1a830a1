import type { AffixNode } from './affix-tree.ts';
import { buildAffixTree } from './affix-tree.ts';
import type { Attribute } from './attributes.ts';
import { textsOf } from './attributes.ts';
import type { Question, RuleEntry } from './compiled-rule.ts';
import { entryMatches } from './compiled-rule.ts';
import type { StringMatch } from './model.ts';
import { templatePrefix } from './path-template.ts';

/**
 * Finds the first rule that matches without looking at those that cannot.
 *
 * A tree: each branch parts its entries by one dimension of the request (who calls, path, port, method, an attribute that
 * conditions ask for) into those that name a value of it and those that do not; a leaf holds a few entries, which are then tested whole. The index may
 * therefore offer too many entries but must never leave out one that matches. A branch takes the dimension that parts its
 * entries best, so ten thousand policies for one caller are parted by path, and ten thousand for one path by caller.
 *
 * An entry with several values stands in several places. So that a small document cannot make a huge index, an entry that
 * has used up its `maxCopies` joins those that do not name a value: found later, but found.
 */
export type IndexNode = Leaf | Branch;

interface Leaf {
  readonly kind: 'leaf';
  /** Smallest order below, so that a search can skip what comes after its best find. */
  readonly first: number;
  /** By order. */
  readonly entries: readonly RuleEntry[];
}

interface Branch {
  readonly kind: 'branch';
  readonly first: number;
  readonly by: Dimension;
  /** By principal, path, method or the text of the attribute. */
  readonly texts: TextSlots | undefined;
  readonly namespaces: TextSlots | undefined;
  readonly ports: ReadonlyMap<number, IndexNode> | undefined;
  /** Entries that this dimension does not part. */
  readonly rest: IndexNode | undefined;
}

interface TextSlots {
  readonly exact: ReadonlyMap<string, IndexNode>;
  readonly prefixes: AffixNode<IndexNode> | undefined;
  readonly suffixes: AffixNode<IndexNode> | undefined;
}

type Dimension = 'source' | 'path' | 'port' | 'method' | Attribute;
const dimensions: readonly Dimension[] = ['source', 'path', 'port', 'method'];

/** Of conditions, those asked for most often; each one costs time to build the index. */
const MAX_ATTRIBUTES = 8;

/** What `findFirst` returns when nothing matches. A small integer, so that V8 compares without allocating. */
export const NOT_FOUND = 0x3fff_ffff;

/** Testing this many entries one by one is as fast as looking for the right ones. */
const LEAF_SIZE = 6;

/** @param entries By order. */
export function buildIndex(entries: readonly RuleEntry[]): IndexNode | undefined {
  return build(
    entries.map((entry) => ({ entry, copies: 1 })),
    [...dimensions, ...attributesOf(entries)],
  );
}

function attributesOf(entries: readonly RuleEntry[]): readonly Attribute[] {
  const counts = new Map<string, { readonly attribute: Attribute; count: number }>();
  for (const { more } of entries) {
    for (const { attribute, matches } of more?.necessary ?? []) {
      if (matches.length === 0) continue;
      const known = counts.get(attribute.key);
      if (known === undefined) counts.set(attribute.key, { attribute, count: 1 });
      else known.count += 1;
    }
  }
  return [...counts.values()]
    .sort((a, b) => b.count - a.count)
    .slice(0, MAX_ATTRIBUTES)
    .map((one) => one.attribute);
}

/**
 * Order of the first entry that matches if that is smaller than `best`, else `best`.
 *
 * @param dead Orders that no longer count.
 */
export function findFirst(
  node: IndexNode,
  question: Question,
  best: number,
  dead: ReadonlySet<number> | undefined,
): number {
  if (node.first >= best) return best;
  if (node.kind === 'leaf') {
    for (const entry of node.entries) {
      if (entry.order >= best) return best;
      if (entryMatches(entry, question) && dead?.has(entry.order) !== true) return entry.order;
    }
    return best;
  }
  let found = best;
  switch (node.by) {
    case 'source':
      if (node.texts !== undefined) found = findText(node.texts, question.principal, question, found, dead);
      if (node.namespaces !== undefined) found = findText(node.namespaces, question.namespace, question, found, dead);
      break;
    case 'path':
      if (question.path !== undefined && node.texts !== undefined) {
        found = findText(node.texts, question.path, question, found, dead);
      }
      break;
    case 'method':
      if (question.method !== undefined && node.texts !== undefined) {
        found = findText(node.texts, question.method, question, found, dead);
      }
      break;
    case 'port': {
      const child = node.ports?.get(question.port);
      if (child !== undefined) found = findFirst(child, question, found, dead);
      break;
    }
    default:
      if (node.texts !== undefined) found = findAttribute(node.by, node.texts, question, found, dead);
  }
  return node.rest === undefined ? found : findFirst(node.rest, question, found, dead);
}

function findText(
  slots: TextSlots,
  text: string,
  question: Question,
  best: number,
  dead: ReadonlySet<number> | undefined,
): number {
  let found = best;
  const child = slots.exact.get(text);
  if (child !== undefined) found = findFirst(child, question, found, dead);
  let node = slots.prefixes;
  for (let position = 0; node !== undefined; ) {
    if (node.value !== undefined) found = findFirst(node.value, question, found, dead);
    node = node.children?.get(text.charCodeAt(position));
    if (node === undefined || !text.startsWith(node.label, position)) break;
    position += node.label.length;
  }
  node = slots.suffixes;
  for (let end = text.length; node !== undefined; ) {
    if (node.value !== undefined) found = findFirst(node.value, question, found, dead);
    node = node.children?.get(text.charCodeAt(end - 1));
    if (node === undefined || !text.endsWith(node.label, end)) break;
    end -= node.label.length;
  }
  return found;
}

function findAttribute(
  attribute: Attribute,
  slots: TextSlots,
  question: Question,
  best: number,
  dead: ReadonlySet<number> | undefined,
): number {
  const texts = textsOf(attribute, question.request);
  if (texts === undefined) return best;
  if (typeof texts === 'string') return findText(slots, texts, question, best, dead);
  let found = best;
  for (const text of texts) found = findText(slots, text, question, found, dead);
  return found;
}

/** An entry on its way into the tree, and in how many places its ancestors have put it. */
interface Placed {
  readonly entry: RuleEntry;
  readonly copies: number;
}

interface Key {
  readonly space: 'text' | 'namespace' | 'port';
  readonly kind: 'exact' | 'prefix' | 'suffix';
  readonly value: string;
}

interface Partition {
  readonly by: Dimension;
  readonly groups: ReadonlyMap<string, { readonly key: Key; readonly members: Placed[] }>;
  readonly rest: readonly Placed[];
  /** Most entries that one value of the dimension can lead to, patterns that overlap aside. */
  readonly worst: number;
}

function build(placed: readonly Placed[], unused: readonly Dimension[]): IndexNode | undefined {
  const [first] = placed;
  if (first === undefined) return undefined;
  const order = first.entry.order;
  const best =
    placed.length <= LEAF_SIZE
      ? undefined
      : unused.map((by) => partition(placed, by)).reduce<Partition | undefined>(better, undefined);
  if (best === undefined || best.worst >= placed.length) {
    return { kind: 'leaf', first: order, entries: placed.map((p) => p.entry) };
  }
  const below = unused.filter((dimension) => dimension !== best.by);
  const children = new Map<Key, IndexNode>();
  for (const { key, members } of best.groups.values()) {
    const child = build(members, below);
    if (child !== undefined) children.set(key, child);
  }
  return {
    kind: 'branch',
    first: order,
    by: best.by,
    texts: textSlots(children, 'text'),
    namespaces: textSlots(children, 'namespace'),
    ports: best.by === 'port' ? new Map([...children].map(([key, child]) => [Number(key.value), child])) : undefined,
    rest: build(best.rest, below),
  };
}

function better(a: Partition | undefined, b: Partition): Partition {
  return a === undefined || b.worst < a.worst ? b : a;
}

function partition(placed: readonly Placed[], by: Dimension): Partition {
  const groups = new Map<string, { key: Key; members: Placed[] }>();
  const rest: Placed[] = [];
  for (const item of placed) {
    const keys = keysOf(item.entry, by);
    const copies = item.copies * keys.length;
    if (keys.length === 0 || copies > item.entry.maxCopies) {
      rest.push(item);
      continue;
    }
    for (const key of keys) {
      const id = `${key.space} ${key.kind} ${key.value}`;
      const group = groups.get(id);
      if (group === undefined) groups.set(id, { key, members: [{ entry: item.entry, copies }] });
      // A value written twice needs one place.
      else if (group.members.at(-1)?.entry !== item.entry) group.members.push({ entry: item.entry, copies });
    }
  }
  let largest = 0;
  for (const { members } of groups.values()) largest = Math.max(largest, members.length);
  return { by, groups, rest, worst: rest.length + largest };
}

/** The values of which a request must have one for the entry to match; none when it may match without. */
function keysOf(entry: RuleEntry, by: Dimension): readonly Key[] {
  switch (by) {
    case 'source':
      return sourceKeys(entry);
    case 'path':
      return textKeys(entry.operation.paths, 'text') ?? [];
    case 'method':
      return textKeys(entry.operation.methods, 'text') ?? [];
    case 'port':
      return entry.operation.ports.map((port) => ({ space: 'port', kind: 'exact', value: String(port) }));
    default:
      return conditionKeys(entry, by);
  }
}

function conditionKeys(entry: RuleEntry, attribute: Attribute): readonly Key[] {
  for (const condition of entry.more?.necessary ?? []) {
    if (condition.attribute.key !== attribute.key) continue;
    const keys = textKeys(condition.matches, 'text');
    if (keys !== undefined) return keys;
  }
  return [];
}

/** Each source by its principals, or by its namespaces when it names no principal. */
function sourceKeys(entry: RuleEntry): readonly Key[] {
  const keys: Key[] = [];
  for (const source of entry.source) {
    const own = textKeys(source.principals, 'text') ?? textKeys(source.namespaces, 'namespace');
    if (own === undefined) return [];
    keys.push(...own);
  }
  return keys;
}

/** `undefined` when these values let anything through: there are none, or one of them is `*`. */
function textKeys(matches: readonly StringMatch[], space: 'text' | 'namespace'): Key[] | undefined {
  if (matches.length === 0) return undefined;
  const keys: Key[] = [];
  for (const match of matches) {
    if (match.kind === 'present') return undefined;
    if (match.kind === 'template') keys.push({ space, kind: 'prefix', value: templatePrefix(match.value) });
    else keys.push({ space, kind: match.kind, value: match.value });
  }
  return keys;
}

function textSlots(children: ReadonlyMap<Key, IndexNode>, space: Key['space']): TextSlots | undefined {
  const of = (kind: Key['kind']) =>
    [...children].flatMap(([key, child]) =>
      key.space === space && key.kind === kind ? [[key.value, child] as const] : [],
    );
  const exact = new Map(of('exact'));
  const prefixes = buildAffixTree('prefix', of('prefix'));
  const suffixes = buildAffixTree('suffix', of('suffix'));
  if (exact.size === 0 && prefixes === undefined && suffixes === undefined) return undefined;
  return { exact, prefixes, suffixes };
}

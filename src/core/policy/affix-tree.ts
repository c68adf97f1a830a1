/**
 * A radix tree over strings: finds every stored prefix (or suffix) of a text in one walk along the text, however many
 * others are stored. Hot loops step through the nodes themselves; see `rule-index.ts`.
 */
export interface AffixNode<T> {
  /** The characters on the edge that leads here, in reading order; '' at the root. */
  label: string;
  /** Set where a stored string ends. */
  value: T | undefined;
  /** By the UTF-16 unit at which the walk goes on: the first of the label for prefixes, the last for suffixes. */
  children: Map<number, AffixNode<T>> | undefined;
}

export type Affix = 'prefix' | 'suffix';

/** @param entries Distinct strings. Undefined when there are none, so that a lookup costs one comparison. */
export function buildAffixTree<T>(affix: Affix, entries: Iterable<readonly [string, T]>): AffixNode<T> | undefined {
  const root: AffixNode<T> = { label: '', value: undefined, children: undefined };
  for (const [text, value] of entries) insert(root, affix, text, value);
  return root.value === undefined && root.children === undefined ? undefined : root;
}

/** Whether any stored prefix starts `text`. */
export function hasPrefixOf(root: AffixNode<unknown>, text: string): boolean {
  let node: AffixNode<unknown> = root;
  let position = 0;
  while (node.value === undefined) {
    const child = node.children?.get(text.charCodeAt(position));
    if (child === undefined || !text.startsWith(child.label, position)) return false;
    node = child;
    position += child.label.length;
  }
  return true;
}

/** Whether any stored suffix ends `text`. */
export function hasSuffixOf(root: AffixNode<unknown>, text: string): boolean {
  let node: AffixNode<unknown> = root;
  let end = text.length;
  while (node.value === undefined) {
    const child = node.children?.get(text.charCodeAt(end - 1));
    if (child === undefined || !text.endsWith(child.label, end)) return false;
    node = child;
    end -= child.label.length;
  }
  return true;
}

function insert<T>(root: AffixNode<T>, affix: Affix, text: string, value: T): void {
  let node = root;
  let rest = text;
  while (rest !== '') {
    const unit = turn(affix, rest);
    node.children ??= new Map();
    const child = node.children.get(unit);
    if (child === undefined) {
      node.children.set(unit, { label: rest, value, children: undefined });
      return;
    }
    const length = common(affix, child.label, rest);
    if (length < child.label.length) split(node.children, unit, affix, child, length);
    node = node.children.get(unit) ?? child;
    rest = affix === 'prefix' ? rest.slice(length) : rest.slice(0, rest.length - length);
  }
  node.value = value;
}

/** Puts a node between `child` and its parent, which takes the first `length` units of the edge. */
function split<T>(
  siblings: Map<number, AffixNode<T>>,
  unit: number,
  affix: Affix,
  child: AffixNode<T>,
  length: number,
): void {
  const { label } = child;
  const upper = affix === 'prefix' ? label.slice(0, length) : label.slice(label.length - length);
  child.label = affix === 'prefix' ? label.slice(length) : label.slice(0, label.length - length);
  siblings.set(unit, { label: upper, value: undefined, children: new Map([[turn(affix, child.label), child]]) });
}

function turn(affix: Affix, text: string): number {
  return affix === 'prefix' ? text.charCodeAt(0) : text.charCodeAt(text.length - 1);
}

function common(affix: Affix, a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let length = 0;
  while (
    length < limit &&
    (affix === 'prefix'
      ? a.charCodeAt(length) === b.charCodeAt(length)
      : a.charCodeAt(a.length - 1 - length) === b.charCodeAt(b.length - 1 - length))
  ) {
    length += 1;
  }
  return length;
}

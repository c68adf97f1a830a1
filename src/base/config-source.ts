import type { Document, Node } from 'yaml';
import { isMap, isScalar, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import type { Finding } from './errors.ts';

/** Where a setting was written: a place in a file, a flag or an environment variable. */
export type Place =
  | { readonly kind: 'file'; readonly file: string; readonly line: number; readonly column: number }
  /** `name` as it is written (`--rest-listen`), `setting` as the schema calls it (`rest.listen`). */
  | { readonly kind: 'flag' | 'variable'; readonly name: string; readonly setting: string };

/**
 * A setting as it was written, before a type has looked at it. `text` comes from a flag or a variable, where everything is
 * text; `scalar`, `list` and `map` come from a file.
 */
export type Raw =
  | { readonly kind: 'text'; readonly value: string; readonly place: Place }
  | { readonly kind: 'scalar'; readonly value: string | number | boolean | null; readonly place: Place }
  | { readonly kind: 'list'; readonly items: readonly Raw[]; readonly place: Place }
  | { readonly kind: 'map'; readonly entries: readonly RawEntry[]; readonly place: Place };

export interface RawEntry {
  readonly key: string;
  readonly keyPlace: Place;
  readonly value: Raw;
}

/** Collects every problem, so that all of them are told at once. */
export class Problems {
  readonly findings: Finding[] = [];

  /** @param name the setting, as its place names it. */
  add(place: Place, name: string, message: string, code = 'invalid-value'): undefined {
    if (place.kind === 'file') {
      const { file, line, column } = place;
      this.findings.push({ code, message: `${name} ${message}`, file, line, column });
    } else {
      // A part of the setting, such as `[0].listen`, is named too.
      const part = name.startsWith(place.setting) ? name.slice(place.setting.length).replace(/^\./, '') : '';
      this.findings.push({ code, message: `${place.name}${part === '' ? '' : `: ${part}`} ${message}` });
    }
    return undefined;
  }
}

/** Longest file that is read, in bytes: a configuration is small, and a wrong path may be anything. */
export const MAX_CONFIG_BYTES = 1024 * 1024;

/** Reads YAML (or JSON) into a map with places. What cannot be read is added to `problems`. */
export function readConfigFile(name: string, text: string, problems: Problems): readonly RawEntry[] {
  const top: Place = { kind: 'file', file: name, line: 1, column: 1 };
  if (Buffer.byteLength(text) > MAX_CONFIG_BYTES) {
    problems.add(top, 'The file', `is larger than ${MAX_CONFIG_BYTES} bytes. Is it a configuration?`, 'too-large');
    return [];
  }
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { kind: 'file', file: name, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  if (!Array.isArray(documents) || documents.length === 0) return [];
  for (const document of documents) {
    for (const error of document.errors) {
      problems.add(at(error.pos[0]), 'The file', `is not valid YAML: ${error.message}.`, 'invalid-yaml');
    }
  }
  if (problems.findings.length > 0) return [];
  if (documents.length > 1) {
    problems.add(at(documents[1]?.range[0] ?? 0), 'A second document', 'is not expected: one file, one configuration.');
    return [];
  }
  const root = documents[0]?.contents ?? null;
  if (root === null || (isScalar(root) && root.value === null)) return [];
  const raw = toRaw(documents[0] as Document, root as Node, at, problems);
  if (raw?.kind === 'map') return raw.entries;
  if (raw !== undefined)
    problems.add(raw.place, 'The file', 'must be a map of settings, such as `dataDir: /var/lib/writ`.');
  return [];
}

function toRaw(
  document: Document,
  node: Node | null,
  at: (offset: number) => Place,
  problems: Problems,
): Raw | undefined {
  const place = at(node?.range?.[0] ?? 0);
  if (node === null) return { kind: 'scalar', value: null, place };
  if (isScalar(node)) {
    const value = node.value;
    if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      return { kind: 'scalar', value, place };
    }
    return problems.add(
      place,
      'The value',
      'is of a kind that settings do not have. Write text, a number, true or false.',
    );
  }
  if (isSeq(node)) {
    const items = node.items.map((item) => toRaw(document, item as Node | null, at, problems));
    return { kind: 'list', items: items.filter((item) => item !== undefined), place };
  }
  if (isMap(node)) {
    const entries: RawEntry[] = [];
    for (const pair of node.items) {
      const key = pair.key as Node;
      const keyPlace = at(key.range?.[0] ?? 0);
      if (!isScalar(key) || typeof key.value !== 'string') {
        problems.add(keyPlace, 'A key', 'must be text.');
        continue;
      }
      const value = toRaw(document, pair.value as Node | null, at, problems);
      if (value !== undefined) entries.push({ key: key.value, keyPlace, value });
    }
    return { kind: 'map', entries, place };
  }
  // An anchor that is used twice saves three lines and costs every reader a search.
  return problems.add(place, 'An alias', 'is not supported here. Write the value out.');
}

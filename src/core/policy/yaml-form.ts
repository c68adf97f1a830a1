import type { Document, Node, ParsedNode } from 'yaml';
import { Composer, isAlias, isMap, isSeq, Parser } from 'yaml';
import { Findings, quoted, shortened } from './findings.ts';
import { exceedsLimits, TOO_DEEP } from './yaml-limits.ts';
import type { Value } from './yaml-reader.ts';
import { asNode, childPointer, keyName, offsetOf } from './yaml-reader.ts';

/** Documents in one text. */
const MAX_DOCUMENTS = 1000;
/** A text that is not YAML can have an error at every character; after this many nobody reads on. */
const MAX_SYNTAX_ERRORS = 20;

export interface YamlText {
  readonly text: string;
  readonly findings: Findings;
  /** Those without syntax errors. Empty documents are left out. */
  readonly documents: readonly YamlDocument[];
  /** Line and column of an offset, from 1. */
  position(offset: number): { readonly line: number; readonly col: number };
}

export interface YamlDocument extends Value {
  readonly node: Node;
  /** Where its own text, comments included, begins and ends. */
  readonly start: number;
  readonly end: number;
}

/**
 * Reads YAML 1.2 (and so JSON) into trees, and reports what is not plain data: syntax errors, aliases, tags, keys that are
 * not strings, keys that stand twice. All of `text` is attacker-controlled; nothing but size bounds the time, which is
 * a few seconds for the worst megabyte.
 */
export function readYaml(text: string, file: string | undefined): YamlText {
  const position = positions(text);
  const findings = new Findings(file, position);
  const documents = exceedsLimits(text, findings) ? [] : compose(text, findings);
  return { text, findings, documents, position };
}

/** Lines and columns in UTF-16 units, as editors count them. */
function positions(text: string): YamlText['position'] {
  const starts = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return { line: low + 1, col: Math.min(offset, text.length) - (starts[low] ?? 0) + 1 };
  };
}

function compose(text: string, findings: Findings): YamlDocument[] {
  const documents: YamlDocument[] = [];
  // uniqueKeys compares every key with every other one; `checkForm` does it in one pass.
  const composer = new Composer({
    prettyErrors: false,
    uniqueKeys: false,
    resolveKnownTags: false,
    logLevel: 'silent',
  });
  let count = 0;
  let end = 0;
  try {
    for (const document of composer.compose(tokens(text, findings), false, text.length)) {
      count += 1;
      if (count > MAX_DOCUMENTS) {
        const message = `There are more than ${MAX_DOCUMENTS} documents. Split the text into several files.`;
        findings.add('too-many-items', { offset: document.range[0], pointer: '' }, message);
        break;
      }
      const read = readDocument(text, document, end, findings);
      if (read !== undefined) documents.push(read);
      end = document.range[2];
    }
  } catch (error) {
    if (error instanceof TooManyErrors) return documents;
    if (!(error instanceof RangeError)) throw error;
    findings.add('too-deep', { offset: 0, pointer: '' }, TOO_DEEP);
  }
  return documents;
}

class TooManyErrors extends Error {}

function* tokens(text: string, findings: Findings) {
  let errors = 0;
  for (const token of new Parser().parse(text)) {
    if (token.type === 'error' || token.type === 'directive') errors += 1;
    if (errors > MAX_SYNTAX_ERRORS) {
      findings.add('yaml-syntax', { offset: token.offset, pointer: '' }, 'The text is not YAML or JSON.');
      throw new TooManyErrors();
    }
    yield token;
  }
}

/** @param previousEnd Where the document before this one ends. */
function readDocument(
  text: string,
  document: Document.Parsed<ParsedNode>,
  previousEnd: number,
  findings: Findings,
): YamlDocument | undefined {
  for (const error of document.errors.slice(0, MAX_SYNTAX_ERRORS)) {
    const place = { offset: error.pos[0], pointer: '' };
    // The stack of the library overflowed: block collections, whose depth `tooDeep` does not bound.
    if (error.code === 'RESOURCE_EXHAUSTION') findings.add('too-deep', place, TOO_DEEP);
    else findings.add('yaml-syntax', place, `The text is not YAML: ${shortened(error.message)}.`);
  }
  if (document.errors.length > 0) return undefined;
  const { directives, range } = document;
  if (directives.yaml.explicit === true && directives.yaml.version !== '1.2') {
    const message = 'Policies are read as YAML 1.2. Remove the %YAML directive.';
    findings.add('yaml-tag', { offset: previousEnd, pointer: '' }, message);
  }
  const node = asNode(document.contents);
  if (node === null || isEmptyScalar(text, node)) return undefined;
  const value = { node, pointer: '', offset: offsetOf(node, range[0]) };
  checkForm(value, findings);
  return { ...value, start: directives.docStart === true ? range[0] + '---'.length : previousEnd, end: range[2] };
}

function isEmptyScalar(text: string, node: Node): boolean {
  return node.range != null && text.slice(node.range[0], node.range[1]) === '' && !isMap(node) && !isSeq(node);
}

/** Without recursion: the depth of block collections is bounded by nothing but the size of the text. */
function checkForm(root: Value, findings: Findings): void {
  const pending: Value[] = [root];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    const { node, pointer, offset } = value;
    if (node === null) continue;
    if (isAlias(node)) {
      const message = `The alias ${quoted(`*${node.source}`)} stands for text elsewhere. Write the value out, so that a rule says what it means where it stands.`;
      findings.add('yaml-alias', value, message);
      continue;
    }
    // Set only when it is written out.
    if (node.tag !== undefined) {
      findings.add('yaml-tag', value, `The tag ${quoted(node.tag)} is not read. Quote a value that is meant as text.`);
    }
    if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) {
        const child = asNode(item);
        pending.push({ node: child, pointer: childPointer(pointer, String(index)), offset: offsetOf(child, offset) });
      }
    } else if (isMap(node)) {
      const seen = new Set<string>();
      for (const pair of node.items) {
        const keyOffset = offsetOf(pair.key, offset);
        const name = keyName(pair, pointer);
        if (name === undefined) {
          findings.add('yaml-key', { pointer, offset: keyOffset }, 'A key must be a string. Quote it.');
          continue;
        }
        const place = { pointer: childPointer(pointer, name), offset: keyOffset };
        if (seen.has(name)) {
          findings.add(
            'duplicate-key',
            place,
            `The key ${quoted(name)} stands twice in one mapping. Keep one of them.`,
          );
        }
        seen.add(name);
        const child = asNode(pair.value);
        pending.push({ node: child, pointer: place.pointer, offset: offsetOf(child, keyOffset) });
      }
    }
  }
}

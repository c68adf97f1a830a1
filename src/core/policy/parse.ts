import { AppError } from '../../base/errors.ts';
import { shapes } from './fields.ts';
import type { Findings, PolicyFinding } from './findings.ts';
import type { PolicyKind, PolicyObject } from './kinds.ts';
import { isPolicyKind, keyOf, titleOf } from './kinds.ts';
import type { Policy } from './model.ts';
import { readApiVersion } from './read-metadata.ts';
import { readPeerAuthentication } from './read-peer-authentication.ts';
import { readRateLimit } from './read-rate-limit.ts';
import { readRequestAuthentication } from './read-request-authentication.ts';
import type { SourceText } from './source-text.ts';
import { documentSource, itemSource } from './source-text.ts';
import { policyApiVersions, readPolicy } from './validate.ts';
import type { YamlDocument, YamlText } from './yaml-form.ts';
import { readYaml } from './yaml-form.ts';
import type { Value } from './yaml-reader.ts';
import { peekText, readFields, readItems, requireField } from './yaml-reader.ts';

/** One object of a text. Its revision is 0 until it is stored. */
export type ParsedDocument<K extends PolicyKind = PolicyKind> = PolicyObject<K> & DocumentText;

/** An AuthorizationPolicy of a text. */
export interface PolicyDocument extends DocumentText {
  /** Its revision is 0 until it is stored. */
  readonly policy: Policy;
}

export interface DocumentText {
  /** The text of this one object, comments included, ready to be parsed again by itself. */
  readonly source: string;
  /** Line of each rule of an AuthorizationPolicy in `source`, from 1; none for other kinds. */
  readonly ruleLines: readonly number[];
  /** Line of the first line of `source` in the whole text, from 1. */
  readonly line: number;
  /** Column of each rule in the whole text, from 1. */
  readonly ruleColumns: readonly number[];
  /** RFC 6901 pointer to the object in its YAML document: '' or `/items/<index>`. */
  readonly pointer: string;
}

/** Items of one `List`. */
const MAX_LIST_ITEMS = 10_000;

/**
 * Parses objects of every kind: YAML or JSON, one or several documents, each an object or a `List` of them as
 * `kubectl get -o yaml` prints it. At most 1 MiB.
 *
 * All or nothing: with anything wrong in any of them it throws, and lists everything that is wrong (at most 200 findings)
 * with code, line, column and pointer. The codes are the table in `findings.ts`. Nothing is ignored in silence but what
 * Kubernetes adds to metadata, and `status`.
 *
 * @param o.file Name of the file for the findings.
 * @throws AppError `invalid-document`
 */
export function parseDocuments(text: string, o: { readonly file?: string } = {}): readonly ParsedDocument[] {
  const { documents, errors } = readDocuments(text, o);
  const [first] = errors;
  if (first === undefined) return documents;
  const where = `${first.file === undefined ? '' : `${first.file}:`}${first.line}:${first.column}`;
  const others = errors.length === 1 ? '' : ` (the first of ${errors.length} findings)`;
  throw new AppError('invalid-document', `${where}: ${first.message}${others}`, {
    // Only what is wrong keeps a text from being accepted.
    details: errors.map(({ severity: _, ...finding }) => finding),
  });
}

/** The AuthorizationPolicies among what `parseDocuments` parses. */
export function parsePolicies(text: string, o: { readonly file?: string } = {}): readonly PolicyDocument[] {
  return parseDocuments(text, o).flatMap(asAuthorization);
}

/** What a text holds, and everything that is to be said about it. */
export interface DocumentsOf<T> {
  /** Only to be used when there are no errors: those in which there are some are left out. */
  readonly documents: readonly T[];
  readonly errors: readonly PolicyFinding[];
  readonly warnings: readonly PolicyFinding[];
}

export type PolicyText = DocumentsOf<PolicyDocument>;

/** As `parseDocuments`, and does not throw. */
export function readDocuments(text: string, o: { readonly file?: string } = {}): DocumentsOf<ParsedDocument> {
  // A byte order mark is not part of the first line.
  const yaml = readYaml(text.startsWith('\uFEFF') ? text.slice(1) : text, o.file);
  const { findings } = yaml;
  const read = yaml.documents.flatMap((document) => readDocument(document, yaml));
  findDuplicates(read, findings);
  if (read.length === 0 && findings.list().length === 0) {
    findings.add('no-policy', { offset: 0, pointer: '' }, 'The text holds no policy.');
  }
  return Object.freeze({
    documents: Object.freeze(read.map((one) => one.document)),
    errors: findings.list(),
    warnings: findings.warnings(),
  });
}

/** As `parsePolicies`, and does not throw. */
export function readPolicies(text: string, o: { readonly file?: string } = {}): PolicyText {
  const read = readDocuments(text, o);
  return Object.freeze({ ...read, documents: Object.freeze(read.documents.flatMap(asAuthorization)) });
}

function asAuthorization(document: ParsedDocument): PolicyDocument[] {
  if (document.kind !== 'AuthorizationPolicy') return [];
  const { object: policy, source, ruleLines, line, ruleColumns, pointer } = document;
  return [Object.freeze({ policy, source, ruleLines, line, ruleColumns, pointer })];
}

interface Read {
  readonly document: ParsedDocument;
  readonly at: Value;
}

function readDocument(document: YamlDocument, yaml: YamlText): Read[] {
  const kind = peekText(document, 'kind');
  if (kind === 'List' || (kind?.endsWith('List') === true && isPolicyKind(kind.slice(0, -'List'.length)))) {
    return listItems(document, yaml.findings).flatMap((item) => readOne(item, itemSource(yaml, item), yaml));
  }
  return readOne(document, documentSource(yaml, document), yaml);
}

function listItems(document: YamlDocument, findings: Findings): readonly Value[] {
  const fields = readFields(document, shapes.list, findings);
  if (fields === undefined) return [];
  readApiVersion(fields, ['v1', ...policyApiVersions], document, findings);
  const items = requireField(fields, 'items', document, findings);
  if (items === undefined) return [];
  return readItems(items, findings, { max: MAX_LIST_ITEMS, mayBeEmpty: true }) ?? [];
}

function readOne(at: Value, source: SourceText, yaml: YamlText): Read[] {
  const read = readObject(at, yaml.findings);
  if (read === undefined) return [];
  const { ruleOffsets, ...object } = read;
  const ruleLines = ruleOffsets.map((offset) => yaml.position(offset).line - source.line + 1);
  const document = {
    ...object,
    source: source.text,
    ruleLines: Object.freeze(ruleLines),
    line: source.line,
    ruleColumns: Object.freeze(ruleOffsets.map((offset) => yaml.position(offset).col)),
    pointer: at.pointer,
  };
  return [{ document: Object.freeze(document), at }];
}

/** By its kind. One that is missing or unknown is reported with the policies, which most are. */
function readObject(
  at: Value,
  findings: Findings,
): (PolicyObject & { readonly ruleOffsets: readonly number[] }) | undefined {
  const kind = peekText(at, 'kind');
  switch (kind) {
    case 'RequestAuthentication': {
      const object = readRequestAuthentication(at, findings);
      return object === undefined ? undefined : { kind, object, ruleOffsets: [] };
    }
    case 'PeerAuthentication': {
      const object = readPeerAuthentication(at, findings);
      return object === undefined ? undefined : { kind, object, ruleOffsets: [] };
    }
    case 'RateLimit': {
      const object = readRateLimit(at, findings);
      return object === undefined ? undefined : { kind, object, ruleOffsets: [] };
    }
    default: {
      const read = readPolicy(at, findings);
      if (read === undefined) return undefined;
      return { kind: 'AuthorizationPolicy', object: read.policy, ruleOffsets: read.ruleOffsets };
    }
  }
}

function findDuplicates(read: readonly Read[], findings: Findings): void {
  const seen = new Map<string, number>();
  for (const { document, at } of read) {
    const title = titleOf(keyOf(document));
    const earlier = seen.get(title);
    seen.set(title, earlier ?? document.line);
    if (earlier === undefined) continue;
    const message = `The ${title} stands here a second time; the first begins at line ${earlier}. Keep one of them.`;
    findings.add('duplicate-policy', at, message);
  }
}

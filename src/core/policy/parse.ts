import { AppError } from '../../base/errors.ts';
import { shapes } from './fields.ts';
import type { Findings, PolicyFinding } from './findings.ts';
import type { Policy } from './model.ts';
import { readApiVersion } from './read-metadata.ts';
import type { SourceText } from './source-text.ts';
import { documentSource, itemSource } from './source-text.ts';
import { policyApiVersions, readPolicy } from './validate.ts';
import type { YamlDocument, YamlText } from './yaml-form.ts';
import { readYaml } from './yaml-form.ts';
import type { Value } from './yaml-reader.ts';
import { peekText, readFields, readItems, requireField } from './yaml-reader.ts';

export interface PolicyDocument {
  /** Its revision is 0 until it is stored. */
  readonly policy: Policy;
  /** The text of this one policy, comments included, ready to be parsed again by itself. */
  readonly source: string;
  /** Line of each rule in `source`, from 1. */
  readonly ruleLines: readonly number[];
  /** Line of the first line of `source` in the whole text, from 1. */
  readonly line: number;
  /** Column of each rule in the whole text, from 1. */
  readonly ruleColumns: readonly number[];
  /** RFC 6901 pointer to the policy in its YAML document: '' or `/items/<index>`. */
  readonly pointer: string;
}

/** Items of one `List`. */
const MAX_LIST_ITEMS = 10_000;

/**
 * Parses AuthorizationPolicies: YAML or JSON, one or several documents, each a policy or a `List` of policies as
 * `kubectl get -o yaml` prints it. At most 1 MiB.
 *
 * All or nothing: with anything wrong in any of them it throws, and lists everything that is wrong (at most 200 findings)
 * with code, line, column and pointer. The codes are the table in `findings.ts`. Nothing is ignored in silence but what
 * Kubernetes adds to metadata, and `status`.
 *
 * @param o.file Name of the file for the findings.
 * @throws AppError `invalid-document`
 */
export function parsePolicies(text: string, o: { readonly file?: string } = {}): readonly PolicyDocument[] {
  const { documents, errors } = readPolicies(text, o);
  const [first] = errors;
  if (first === undefined) return documents;
  const where = `${first.file === undefined ? '' : `${first.file}:`}${first.line}:${first.column}`;
  const others = errors.length === 1 ? '' : ` (the first of ${errors.length} findings)`;
  throw new AppError('invalid-document', `${where}: ${first.message}${others}`, {
    // Only what is wrong keeps a text from being accepted.
    details: errors.map(({ severity: _, ...finding }) => finding),
  });
}

/** What a text holds, and everything that is to be said about it. */
export interface PolicyText {
  /** Only to be used when there are no errors: those in which there are some are left out. */
  readonly documents: readonly PolicyDocument[];
  readonly errors: readonly PolicyFinding[];
  readonly warnings: readonly PolicyFinding[];
}

/** As `parsePolicies`, and does not throw. */
export function readPolicies(text: string, o: { readonly file?: string } = {}): PolicyText {
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

interface Read {
  readonly document: PolicyDocument;
  readonly at: Value;
}

function readDocument(document: YamlDocument, yaml: YamlText): Read[] {
  const kind = peekText(document, 'kind');
  if (kind === 'List' || kind === 'AuthorizationPolicyList') {
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
  const read = readPolicy(at, yaml.findings);
  if (read === undefined) return [];
  const ruleLines = read.ruleOffsets.map((offset) => yaml.position(offset).line - source.line + 1);
  const document = {
    policy: read.policy,
    source: source.text,
    ruleLines: Object.freeze(ruleLines),
    line: source.line,
    ruleColumns: Object.freeze(read.ruleOffsets.map((offset) => yaml.position(offset).col)),
    pointer: at.pointer,
  };
  return [{ document: Object.freeze(document), at }];
}

function findDuplicates(read: readonly Read[], findings: Findings): void {
  const seen = new Map<string, number>();
  for (const { document, at } of read) {
    const { namespace, name } = document.policy;
    const earlier = seen.get(`${namespace}/${name}`);
    seen.set(`${namespace}/${name}`, earlier ?? document.line);
    if (earlier === undefined) continue;
    const message = `The policy ${namespace}/${name} stands here a second time; the first begins at line ${earlier}. Keep one of them.`;
    findings.add('duplicate-policy', at, message);
  }
}

import { isScalar } from 'yaml';
import { AppError } from '../../base/errors.ts';
import type { Shape } from './fields.ts';
import type { Findings, Place, PolicyFinding } from './findings.ts';
import { quoted } from './findings.ts';
import type { PolicyCase } from './policy-case.ts';
import { readParty } from './policy-case.ts';
import { readApiVersion } from './read-metadata.ts';
import type { YamlText } from './yaml-form.ts';
import { readYaml } from './yaml-form.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readItems, readMap, readText, requireField } from './yaml-reader.ts';

/** Expectations that are kept beside policies: documents of the kind `PolicyTest`. */
export interface PolicyTests {
  readonly cases: readonly PolicyCase[];
  /** Labels by SPIFFE ID or `<namespace>/<service>`, for where no control plane is asked. */
  readonly workloads: ReadonlyMap<string, Readonly<Record<string, string>>>;
  /** Likewise. Absent for none. */
  readonly trustDomain?: string;
}

export interface ReadTests extends PolicyTests {
  readonly errors: readonly PolicyFinding[];
}

export const POLICY_TEST_KIND = 'PolicyTest';
/** Whether a text looks like expectations, so that a folder may hold them beside policies. Reading it is what tells for certain. */
export function isPolicyTest(text: string): boolean {
  return /^[ \t{,]*["']?kind["']?[ \t]*:[ \t]*["']?PolicyTest["']?[ \t\r,}]*(?:#.*)?$/m.test(text);
}

/** In one text. */
const MAX_CASES = 10_000;
const MAX_WORKLOADS = 10_000;
/** For parties without a trust domain, to see whether they are parties at all. */
const ANY_TRUST_DOMAIN = 'example.org';

const shapes = {
  document: {
    name: POLICY_TEST_KIND,
    fields: ['apiVersion', 'kind', 'trustDomain', 'workloads', 'cases'],
    ignored: ['metadata'],
  },
  case: {
    name: 'case',
    fields: [
      ...['name', 'from', 'to', 'method', 'path', 'port', 'host', 'headers', 'claims'],
      ...['sourceIp', 'destinationIp', 'serverName', 'direction', 'at', 'expect', 'rule'],
    ],
  },
} as const satisfies Record<string, Shape>;

/**
 * Reads expectations: YAML or JSON, one or several documents. At most 1 MiB.
 *
 * @throws AppError `invalid-document` with everything that is wrong, by line and column
 */
export function parsePolicyTests(text: string, o: { readonly file?: string } = {}): PolicyTests {
  const { errors, ...tests } = readPolicyTests(text, o);
  const [first] = errors;
  if (first === undefined) return tests;
  const where = `${first.file === undefined ? '' : `${first.file}:`}${first.line}:${first.column}`;
  const others = errors.length === 1 ? '' : ` (the first of ${errors.length} findings)`;
  throw new AppError('invalid-document', `${where}: ${first.message}${others}`, {
    details: errors.map(({ severity: _, ...finding }) => finding),
  });
}

/** As `parsePolicyTests`, and does not throw: what it returns is only good without errors. */
export function readPolicyTests(text: string, o: { readonly file?: string } = {}): ReadTests {
  const yaml = readYaml(text.startsWith('\uFEFF') ? text.slice(1) : text, o.file);
  const { findings } = yaml;
  const cases: PolicyCase[] = [];
  const workloads = new Map<string, Readonly<Record<string, string>>>();
  let trustDomain: string | undefined;
  for (const document of yaml.documents) {
    const fields = readFields(document, shapes.document, findings);
    if (fields === undefined) continue;
    readApiVersion(fields, ['writ.dev/v1'], document, findings);
    checkKind(fields, document, findings);
    const domain = fields.get('trustDomain');
    if (domain !== undefined) trustDomain = readText(domain, findings) ?? trustDomain;
    const known = fields.get('workloads');
    for (const [name, labels] of known === undefined ? [] : readWorkloads(known, findings)) workloads.set(name, labels);
    const items = requireField(fields, 'cases', document, findings);
    if (items === undefined) continue;
    for (const item of readItems(items, findings, { max: MAX_CASES }) ?? []) {
      const one = readCase(item, yaml, o.file);
      if (one !== undefined) cases.push(one);
    }
  }
  if (yaml.documents.length === 0 && findings.list().length === 0) {
    findings.add('no-policy', { offset: 0, pointer: '' }, 'The text holds no cases.');
  }
  return Object.freeze({
    cases: Object.freeze(cases),
    workloads,
    ...(trustDomain !== undefined && { trustDomain }),
    errors: findings.list(),
  });
}

function checkKind(fields: ReadonlyMap<string, Field>, owner: Value, findings: Findings): void {
  const at = requireField(fields, 'kind', owner, findings);
  const kind = at === undefined ? undefined : readText(at, findings);
  if (at === undefined || kind === undefined || kind === POLICY_TEST_KIND) return;
  findings.add('unknown-kind', at, `The kind ${quoted(kind)} holds no cases. Write ${POLICY_TEST_KIND}.`);
}

function readWorkloads(value: Value, findings: Findings): [string, Readonly<Record<string, string>>][] {
  const read: [string, Readonly<Record<string, string>>][] = [];
  for (const [name, field] of readMap(value, findings) ?? []) {
    if (read.length >= MAX_WORKLOADS) {
      findings.add('too-many-items', field.key, `There are more than ${MAX_WORKLOADS} workloads.`);
      break;
    }
    checkParty(name, 'to', field.key, findings);
    const labels = readTexts(field, findings);
    if (labels !== undefined) read.push([name, labels]);
  }
  return read;
}

function readCase(value: Value, yaml: YamlText, file: string | undefined): PolicyCase | undefined {
  const { findings } = yaml;
  const fields = readFields(value, shapes.case, findings);
  if (fields === undefined) return undefined;
  const texts = new Map<string, string>();
  for (const name of ['name', 'method', 'path', 'host', 'sourceIp', 'destinationIp', 'serverName', 'rule'] as const) {
    const field = fields.get(name);
    const text = field === undefined ? undefined : readText(field, findings);
    if (text !== undefined) texts.set(name, text);
  }
  const from = readPartyField('from', fields, value, findings);
  const to = readPartyField('to', fields, value, findings);
  const decision = readExpect(fields, value, findings);
  const port = readPort(fields.get('port'), findings);
  const at = readTime(fields.get('at'), findings);
  const direction = readDirection(fields.get('direction'), findings);
  const headers = fields.get('headers');
  const claims = fields.get('claims');
  checkHttp(fields, value, findings);
  if (from === undefined || to === undefined || decision === undefined) return undefined;
  const { method, path, host, sourceIp, destinationIp, serverName, rule } = Object.fromEntries(texts);
  const line = yaml.position(value.offset).line;
  return Object.freeze({
    name: texts.get('name') ?? `${from || 'nobody'} to ${to}${method === undefined ? '' : ` ${method} ${path}`}`,
    from,
    to,
    ...(method !== undefined && { method }),
    ...(path !== undefined && { path }),
    ...(host !== undefined && { host }),
    ...(port !== undefined && { port }),
    ...(headers !== undefined && { headers: readTexts(headers, findings) ?? {} }),
    ...(claims !== undefined && { claims: readClaims(claims, findings) }),
    ...(sourceIp !== undefined && { sourceIp }),
    ...(destinationIp !== undefined && { destinationIp }),
    ...(serverName !== undefined && { serverName }),
    ...(direction !== undefined && { direction }),
    ...(at !== undefined && { at }),
    expect: Object.freeze({ decision, ...(rule !== undefined && { rule }) }),
    ...(file !== undefined && { file }),
    line,
  });
}

/** `plaintext` is a caller without a certificate. */
function readPartyField(
  name: 'from' | 'to',
  fields: ReadonlyMap<string, Field>,
  owner: Value,
  findings: Findings,
): string | undefined {
  const field = requireField(fields, name, owner, findings);
  const text = field === undefined ? undefined : readText(field, findings);
  if (field === undefined || text === undefined) return undefined;
  if (name === 'from' && text === 'plaintext') return '';
  return checkParty(text, name, field, findings) ? text : undefined;
}

function checkParty(text: string, field: 'from' | 'to', at: Place, findings: Findings): boolean {
  try {
    readParty(text, field, ANY_TRUST_DOMAIN);
    return true;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    findings.add('invalid-case', at, `${quoted(text)} is neither a SPIFFE ID nor <namespace>/<service>.`);
    return false;
  }
}

function readExpect(
  fields: ReadonlyMap<string, Field>,
  owner: Value,
  findings: Findings,
): 'allow' | 'deny' | undefined {
  const field = requireField(fields, 'expect', owner, findings);
  const text = field === undefined ? undefined : readText(field, findings);
  if (field === undefined || text === undefined) return undefined;
  if (text === 'allow' || text === 'deny') return text;
  findings.add('invalid-case', field, `What is expected is "allow" or "deny", not ${quoted(text)}.`);
  return undefined;
}

function checkHttp(fields: ReadonlyMap<string, Field>, owner: Value, findings: Findings): void {
  const [method, path] = [fields.get('method'), fields.get('path')];
  if ((method === undefined) === (path === undefined)) {
    const lone = method === undefined ? ['host', 'headers', 'claims'].find((name) => fields.has(name)) : undefined;
    const field = lone === undefined ? undefined : fields.get(lone);
    if (field === undefined) return;
    findings.add('invalid-case', field.key, `Only HTTP has ${lone}: name "method" and "path" too.`);
    return;
  }
  const missing = method === undefined ? 'method' : 'path';
  const message = `The field "${missing}" is missing: name method and path, or neither for plain TCP.`;
  findings.add('invalid-case', owner, message);
}

function readPort(field: Field | undefined, findings: Findings): number | undefined {
  if (field === undefined) return undefined;
  const port = isScalar(field.node) ? field.node.value : undefined;
  if (typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535) return port;
  findings.add('invalid-case', field, 'The port must be a number from 1 to 65535.');
  return undefined;
}

function readTime(field: Field | undefined, findings: Findings): number | undefined {
  const text = field === undefined ? undefined : readText(field, findings);
  if (field === undefined || text === undefined) return undefined;
  const isTime = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/.test(text);
  const time = isTime ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  findings.add('invalid-case', field, `The time ${quoted(text)} is none. Write it as 2026-01-31T08:00:00Z.`);
  return undefined;
}

function readDirection(field: Field | undefined, findings: Findings): 'egress' | undefined {
  const text = field === undefined ? undefined : readText(field, findings);
  if (field === undefined || text === undefined || text === 'Ingress') return undefined;
  if (text === 'Egress') return 'egress';
  findings.add('invalid-case', field, `The direction is "Ingress" or "Egress", not ${quoted(text)}.`);
  return undefined;
}

function readTexts(value: Value, findings: Findings): Readonly<Record<string, string>> | undefined {
  const fields = readMap(value, findings);
  if (fields === undefined) return undefined;
  const texts = [...fields].map(([name, field]) => [name, readText(field, findings)] as const);
  return Object.fromEntries(texts.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** Of any shape, as they stand in a token. Aliases have been reported already. */
function readClaims(value: Value, findings: Findings): Readonly<Record<string, unknown>> {
  const fields = readMap(value, findings);
  if (fields === undefined) return {};
  return Object.fromEntries([...fields].map(([name, { node }]) => [name, node === null ? null : plain(node)]));
}

function plain(node: { toJSON(): unknown }): unknown {
  return JSON.parse(JSON.stringify(node.toJSON() ?? null));
}

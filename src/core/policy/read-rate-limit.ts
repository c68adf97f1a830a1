import { isScalar } from 'yaml';
import { attributeOf } from './attributes.ts';
import { readerOf } from './condition-values.ts';
import { shapes } from './fields.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import type { StringMatch } from './model.ts';
import type { Rate, RateLimit, RateOverride } from './rate-limit.ts';
import type { DurationLimits } from './read-duration.ts';
import { readDuration } from './read-duration.ts';
import { readApiVersion, readMetadata } from './read-metadata.ts';
import { readSelector } from './read-selector.ts';
import { readPrincipal } from './values.ts';
import type { Field, Value } from './yaml-reader.ts';
import { readFields, readItems, requireField } from './yaml-reader.ts';

/** Reads a RateLimit: `total`, `perSource` and `overrides`, as Linkerd's HTTPLocalRateLimitPolicy has them. */

export const rateLimitApiVersions: readonly string[] = ['writ.dev/v1'];

/** Calls in a period. */
const MAX_REQUESTS = 1_000_000_000;
const DEFAULT_PERIOD_MS = 1_000;
const period: DurationLimits = { minMs: 100, maxMs: 24 * 3_600_000 };
/** In one object, and callers in one of them. A sidecar goes through all of them for each new caller. */
const MAX_OVERRIDES = 512;
const MAX_CALLERS = 512;

/** Reports everything that is wrong; what it returns is only good if nothing was reported. */
export function readRateLimit(value: Value, findings: Findings): RateLimit | undefined {
  const fields = readFields(value, shapes.rateLimit, findings);
  if (fields === undefined) return undefined;
  readApiVersion(fields, rateLimitApiVersions, value, findings);
  const metadata = requireField(fields, 'metadata', value, findings);
  const name = metadata === undefined ? undefined : readMetadata(metadata, findings);
  const spec = requireField(fields, 'spec', value, findings);
  const limits = spec === undefined ? undefined : readSpec(spec, name?.namespace ?? '', findings);
  if (name === undefined || limits === undefined) return undefined;
  return Object.freeze({ namespace: name.namespace, name: name.name, revision: 0, ...limits });
}

type Limits = Omit<RateLimit, 'namespace' | 'name' | 'revision'>;

function readSpec(value: Value, namespace: string, findings: Findings): Limits | undefined {
  const fields = readFields(value, shapes.rateLimitSpec, findings);
  if (fields === undefined) return undefined;
  const selectorField = fields.get('selector');
  const selector = selectorField === undefined ? Object.freeze({}) : readSelector(selectorField, findings);
  const total = readRate(fields.get('total'), findings);
  const perSource = readRate(fields.get('perSource'), findings);
  const overrides = readOverrides(fields.get('overrides'), namespace, findings);
  if (!['total', 'perSource', 'overrides'].some((name) => fields.has(name))) {
    findings.add('empty-field', value, 'The spec limits nothing. Give it "total", "perSource" or "overrides".');
  }
  if (selector === undefined || overrides === undefined) return undefined;
  return {
    selector,
    ...(total !== undefined && { total }),
    ...(perSource !== undefined && { perSource }),
    overrides,
  };
}

function readRate(value: Field | undefined, findings: Findings): Rate | undefined {
  const fields = value === undefined ? undefined : readFields(value, shapes.rate, findings);
  return value === undefined || fields === undefined ? undefined : rateOf(fields, value, findings);
}

function rateOf(fields: ReadonlyMap<string, Field>, owner: Value, findings: Findings): Rate | undefined {
  const requestsField = requireField(fields, 'requests', owner, findings);
  const requests = requestsField === undefined ? undefined : readRequests(requestsField, findings);
  const periodField = fields.get('period');
  const periodMs = periodField === undefined ? DEFAULT_PERIOD_MS : readDuration(periodField, period, findings);
  return requests === undefined || periodMs === undefined ? undefined : Object.freeze({ requests, periodMs });
}

/** As it was written: 1e3 and 0x10 are numbers to YAML, and no number of calls that people read at a glance. */
function readRequests(field: Field, findings: Findings): number | undefined {
  const { node } = field;
  const written = isScalar(node) && typeof node.value === 'number' ? (node.source ?? '') : undefined;
  if (written !== undefined && /^[1-9][0-9]{0,9}$/.test(written) && Number(written) <= MAX_REQUESTS) {
    return Number(written);
  }
  const shown = isScalar(node) ? `, not ${quoted(String(node.source ?? node.value))}` : '';
  const advice = written === '0' ? ' To let nobody in, write a DENY.' : '';
  const message = `The number of calls must be a whole number from 1 to ${MAX_REQUESTS}${shown}.${advice}`;
  findings.add('invalid-rate', field, message);
  return undefined;
}

function readOverrides(
  value: Field | undefined,
  namespace: string,
  findings: Findings,
): readonly RateOverride[] | undefined {
  if (value === undefined) return Object.freeze([]);
  const items = readItems(value, findings, { max: MAX_OVERRIDES });
  const overrides = items?.map((item) => readOverride(item, namespace, findings));
  return overrides?.every((one) => one !== undefined) === true ? Object.freeze(overrides) : undefined;
}

function readOverride(value: Value, namespace: string, findings: Findings): RateOverride | undefined {
  const fields = readFields(value, shapes.rateOverride, findings);
  if (fields === undefined) return undefined;
  const named = readCallers(fields.get('principals'), readPrincipal, findings);
  const accounts = readCallers(
    fields.get('serviceAccounts'),
    (item) => readAccount(item, namespace, findings),
    findings,
  );
  if (!fields.has('principals') && !fields.has('serviceAccounts')) {
    findings.add('missing-field', value, 'An override needs "principals" or "serviceAccounts": whom it is for.');
  }
  const rate = rateOf(fields, value, findings);
  if (named === undefined || accounts === undefined || rate === undefined) return undefined;
  return Object.freeze({ principals: Object.freeze([...named, ...accounts]), rate });
}

function readCallers(
  value: Field | undefined,
  read: (value: Value, findings: Findings) => StringMatch | undefined,
  findings: Findings,
): readonly StringMatch[] | undefined {
  if (value === undefined) return [];
  const callers = readItems(value, findings, { max: MAX_CALLERS })?.map((item) => read(item, findings));
  return callers?.every((one) => one !== undefined) === true ? callers : undefined;
}

const serviceAccount = attributeOf('source.serviceAccount');

/** Of whatever trust domain, as in policies (reference: rule 12). */
function readAccount(value: Value, namespace: string, findings: Findings): StringMatch | undefined {
  const account = serviceAccount === undefined ? undefined : readerOf(serviceAccount, namespace)(value, findings);
  const [owner, name] = account?.split('/') ?? [];
  if (owner === undefined || name === undefined) return undefined;
  return Object.freeze({ kind: 'suffix', value: `/ns/${owner}/sa/${name}` });
}

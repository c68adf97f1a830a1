import type { Rate, RateLimit, RateOverride } from '../core/policy/rate-limit.ts';
import * as field from './fields.ts';
import type { Duration, Duration__Output } from './gen/google/protobuf/Duration.ts';
import type { Rate as ProtoRate, Rate__Output } from './gen/writ/v1/Rate.ts';
import type { RateLimit as ProtoRateLimit, RateLimit__Output } from './gen/writ/v1/RateLimit.ts';
import type { RateOverride__Output } from './gen/writ/v1/RateOverride.ts';
import { fromMatch, toMatch } from './string-match.ts';

/** A day: what is meant for longer is a quota, and no sidecar counts that long. */
const MAX_PERIOD_MS = 86_400_000;
const MAX_OVERRIDES = 1024;
/** Of those that a document may name, one for each trust domain that counts as the same. */
const MAX_PRINCIPALS = 100_000;

export function toRateLimit(limit: RateLimit): ProtoRateLimit {
  return {
    namespace: limit.namespace,
    name: limit.name,
    revision: field.toU64(limit.revision),
    ...(limit.total !== undefined && { total: toRate(limit.total) }),
    ...(limit.perSource !== undefined && { perSource: toRate(limit.perSource) }),
    overrides: limit.overrides.map(({ principals, rate }) => ({
      principals: principals.map(toMatch),
      rate: toRate(rate),
    })),
  };
}

/** Its `selector` is not sent and reads as empty. */
export function fromRateLimit(message: RateLimit__Output, path: string): RateLimit {
  return Object.freeze({
    namespace: field.text(message.namespace, `${path}.namespace`, 255),
    name: field.text(message.name, `${path}.name`, 255),
    revision: field.u64(message.revision, `${path}.revision`),
    selector: Object.freeze({}),
    ...(message.total !== null && { total: fromRate(message.total, `${path}.total`) }),
    ...(message.perSource !== null && { perSource: fromRate(message.perSource, `${path}.per_source`) }),
    overrides: field.list(message.overrides, `${path}.overrides`, fromOverride, { max: MAX_OVERRIDES }),
  });
}

/** Without a principal it would hold for nobody. */
function fromOverride(message: RateOverride__Output, path: string): RateOverride {
  return Object.freeze({
    principals: field.list(message.principals, `${path}.principals`, fromMatch, { min: 1, max: MAX_PRINCIPALS }),
    rate: fromRate(field.required(message.rate, `${path}.rate`), `${path}.rate`),
  });
}

function toRate({ requests, periodMs }: Rate): ProtoRate {
  return { requests, period: toDuration(periodMs) };
}

function fromRate(message: Rate__Output, path: string): Rate {
  if (message.requests < 1) throw field.invalid(`${path}.requests`, 'is less than 1');
  return Object.freeze({
    requests: message.requests,
    periodMs: fromDuration(message.period, `${path}.period`, MAX_PERIOD_MS),
  });
}

export function toDuration(ms: number): Duration {
  const whole = Math.floor(ms / 1000);
  return { seconds: String(whole), nanos: Math.round(ms - whole * 1000) * 1_000_000 };
}

/** At least one millisecond; finer parts are cut. */
export function fromDuration(message: Duration__Output | null, path: string, maxMs: number): number {
  const { seconds, nanos } = field.required(message, path);
  const ms = Number(seconds) * 1000 + Math.floor(nanos / 1_000_000);
  if (!Number.isSafeInteger(ms) || ms < 1 || ms > maxMs || nanos < 0 || nanos > 999_999_999) {
    throw field.invalid(path, `is not a duration between 1 ms and ${maxMs} ms`);
  }
  return ms;
}

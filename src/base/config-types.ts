import type { Problems, Raw } from './config-source.ts';
import { didYouMean } from './suggest.ts';

/** How one setting is written and checked. */
export interface Type<T> {
  /** For the reference: `<host:port>`, `<seconds>`. */
  readonly form: string;
  /** Limits and unit in words, for the reference; empty for none. */
  readonly limit: string;
  /** May be given more than once as a flag; then `parse` gets a list. */
  readonly repeatable?: boolean;
  /** Adds what is wrong to `problems` and returns `undefined`. `name` is how messages call the setting. */
  parse(raw: Raw, name: string, problems: Problems): T | undefined;
}

export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** Non-empty text. */
export function text(
  o: { readonly form?: string; readonly pattern?: RegExp; readonly hint?: string; readonly maxLength?: number } = {},
): Type<string> {
  const maxLength = o.maxLength ?? 1024;
  return {
    form: o.form ?? 'text',
    limit: o.hint ?? '',
    parse(raw, name, problems) {
      const value = textOf(raw, name, problems);
      if (value === undefined) return undefined;
      if (value === '') return problems.add(raw.place, name, 'must not be empty.');
      if (value.length > maxLength) return problems.add(raw.place, name, `is longer than ${maxLength} characters.`);
      if (o.pattern !== undefined && !o.pattern.test(value)) {
        return problems.add(raw.place, name, `cannot be ${quote(value)}: ${o.hint ?? 'it has the wrong form'}.`);
      }
      return value;
    },
  };
}

/** A path of a file or directory; not looked at here. Relative ones start at the working directory. */
export const path: Type<string> = { ...text({ form: 'path', maxLength: 4096 }), limit: '' };

export function integer(o: { readonly min: number; readonly max: number; readonly unit?: string }): Type<number> {
  const limit = `${o.min} to ${o.max}${o.unit === undefined ? '' : ` ${o.unit}`}`;
  return {
    form: o.unit ?? 'number',
    limit,
    parse(raw, name, problems) {
      const value = integerOf(raw);
      if (value === undefined || value < o.min || value > o.max) {
        return problems.add(raw.place, name, `must be a whole number from ${limit}, not ${shown(raw)}.`);
      }
      return value;
    },
  };
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** A time span such as `90s`, `10m`, `24h`, `365d`; the value is in seconds. */
export function duration(o: { readonly min: string; readonly max: string }): Type<number> {
  const limit = `${o.min} to ${o.max}`;
  return {
    form: 'duration',
    limit,
    parse(raw, name, problems) {
      const written = raw.kind === 'list' || raw.kind === 'map' ? undefined : raw.value;
      const seconds = typeof written === 'string' ? parseDuration(written) : undefined;
      if (seconds === undefined) {
        return problems.add(raw.place, name, `must be a duration such as 90s, 10m or 24h, not ${shown(raw)}.`);
      }
      if (seconds < (parseDuration(o.min) ?? 0) || seconds > (parseDuration(o.max) ?? Infinity)) {
        return problems.add(raw.place, name, `must be from ${limit}, not ${shown(raw)}.`);
      }
      return seconds;
    },
  };
}

/** Seconds, or `undefined` when it is not a duration. */
export function parseDuration(written: string): number | undefined {
  const match = /^(\d{1,9})([smhd])$/.exec(written);
  const unit = unitSeconds[match?.[2] ?? ''];
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit;
}

export function choice<const T extends string>(values: readonly T[]): Type<T> {
  return {
    form: values.join('|'),
    limit: '',
    parse(raw, name, problems) {
      const value = raw.kind === 'list' || raw.kind === 'map' ? undefined : raw.value;
      const found = values.find((known) => known === value);
      if (found !== undefined) return found;
      const hint = typeof value === 'string' ? didYouMean(value, values) : '';
      return problems.add(raw.place, name, `must be ${oneOf(values)}, not ${shown(raw)}.${hint}`);
    },
  };
}

/** `true` or `false`; the bare flag means true. */
export const flag: Type<boolean> = {
  form: '',
  limit: '',
  parse(raw, name, problems) {
    const value = raw.kind === 'list' || raw.kind === 'map' ? undefined : raw.value;
    if (value === true || (raw.kind === 'text' && value === 'true')) return true;
    if (value === false || (raw.kind === 'text' && value === 'false')) return false;
    return problems.add(raw.place, name, `must be true or false, not ${shown(raw)}.`);
  },
};

/** `host:port`; an IPv6 address in brackets. `anyPort`: 0 is allowed and means a free one. */
export function address(o: { readonly anyPort?: boolean } = {}): Type<Listen> {
  return {
    form: 'host:port',
    limit: '',
    parse(raw, name, problems) {
      const value = textOf(raw, name, problems);
      if (value === undefined) return undefined;
      const found = parseAddress(value);
      if (found === undefined) {
        return problems.add(
          raw.place,
          name,
          `must be host:port, such as 127.0.0.1:8443 or [::1]:8443, not ${quote(value)}.`,
        );
      }
      if (found.port === 0 && o.anyPort !== true) return problems.add(raw.place, name, 'must not be port 0.');
      return found;
    },
  };
}

export function parseAddress(written: string): Listen | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(written);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) return undefined;
  return { host, port };
}

/** The inverse of `parseAddress`. */
export function formatAddress(listen: Listen): string {
  return listen.host.includes(':') ? `[${listen.host}]:${listen.port}` : `${listen.host}:${listen.port}`;
}

/** Several of one type: a list in a file, a repeated flag, a comma-separated variable (unless `item` is a record). */
export function list<T>(item: Type<T>, o: { readonly max: number }): Type<readonly T[]> {
  return {
    form: item.form,
    limit: `at most ${o.max}`,
    repeatable: true,
    parse(raw, name, problems) {
      const items = raw.kind === 'list' ? raw.items : [raw];
      if (items.length > o.max)
        return problems.add(raw.place, name, `has ${items.length} items; at most ${o.max} are allowed.`);
      const values = items.map((each, i) => item.parse(each, raw.kind === 'list' ? `${name}[${i}]` : name, problems));
      return values.every((value) => value !== undefined) ? Object.freeze(values) : undefined;
    },
  };
}

interface Field<T> {
  readonly type: Type<T>;
  readonly required: boolean;
}
export type RecordOf<F> = {
  readonly [K in keyof F]: F[K] extends { type: Type<infer T>; required: infer R }
    ? R extends true
      ? T
      : T | undefined
    : never;
};

/** A small object: a map in a file, `name=value,name=value` in a flag or variable. */
export function record<const F extends Readonly<Record<string, Field<unknown>>>>(fields: F): Type<RecordOf<F>> {
  const names = Object.keys(fields);
  const form = names
    .map((name) =>
      fields[name]?.required ? `${name}=${fields[name]?.type.form}` : `[${name}=${fields[name]?.type.form}]`,
    )
    .join(',');
  return {
    form,
    limit: '',
    parse(raw, name, problems) {
      const before = problems.findings.length;
      const given = fieldsOf(raw, name, problems);
      if (given === undefined) return undefined;
      const result: Record<string, unknown> = {};
      for (const [key, value] of given) {
        const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
        if (field === undefined) {
          problems.add(
            value.place,
            name,
            `has an unknown field ${quote(key)}.${didYouMean(key, names)}`,
            'unknown-key',
          );
        } else {
          result[key] = field.type.parse(value, `${name}.${key}`, problems);
        }
      }
      for (const key of names) {
        if (fields[key]?.required && !given.has(key)) problems.add(raw.place, name, `needs ${key}.`, 'missing');
      }
      return problems.findings.length === before ? (Object.freeze(result) as RecordOf<F>) : undefined;
    },
  };
}

function fieldsOf(raw: Raw, name: string, problems: Problems): Map<string, Raw> | undefined {
  if (raw.kind === 'map') return new Map(raw.entries.map((entry) => [entry.key, entry.value]));
  if (raw.kind !== 'text') return problems.add(raw.place, name, `must be a map, not ${shown(raw)}.`);
  const found = new Map<string, Raw>();
  for (const part of raw.value.split(',')) {
    const at = part.indexOf('=');
    if (at <= 0)
      return problems.add(raw.place, name, `must be written name=value,name=value; ${quote(part)} has no "=".`);
    const key = part.slice(0, at);
    if (found.has(key)) return problems.add(raw.place, name, `names ${key} twice.`);
    found.set(key, { kind: 'text', value: part.slice(at + 1), place: raw.place });
  }
  return found;
}

function textOf(raw: Raw, name: string, problems: Problems): string | undefined {
  if (raw.kind === 'text') return raw.value;
  if (raw.kind === 'scalar' && typeof raw.value === 'string') return raw.value;
  const hint = raw.kind === 'scalar' && raw.value !== null ? ' Put it in quotes.' : '';
  return problems.add(raw.place, name, `must be text, not ${shown(raw)}.${hint}`);
}

function integerOf(raw: Raw): number | undefined {
  if (raw.kind === 'text') return /^-?\d{1,15}$/.test(raw.value) ? Number(raw.value) : undefined;
  return raw.kind === 'scalar' && Number.isSafeInteger(raw.value) ? (raw.value as number) : undefined;
}

function shown(raw: Raw): string {
  if (raw.kind === 'list') return 'a list';
  if (raw.kind === 'map') return 'a map';
  if (raw.value === null) return 'nothing';
  return typeof raw.value === 'string' ? quote(raw.value) : String(raw.value);
}

function quote(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
}

function oneOf(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}

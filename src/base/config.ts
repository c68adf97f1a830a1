import type { Place, Raw, RawEntry } from './config-source.ts';
import { Problems, readConfigFile } from './config-source.ts';
import type { Type } from './config-types.ts';
import { AppError } from './errors.ts';
import { didYouMean } from './suggest.ts';

/**
 * Configuration: a schema describes every setting once, and everything else follows from it: where it can be written
 * (flag, environment variable, file; the first wins), how it is checked, and the reference that `--help` prints.
 *
 * A setting has one name, in camel case with dots: `rest.listen` is the flag `--rest-listen`, the variable
 * `WRIT_REST_LISTEN` and, in the file, `listen` inside `rest`. An empty variable counts as not set.
 */
export interface Setting<T, Presence extends 'required' | 'optional' | 'default'> {
  readonly type: Type<T>;
  readonly presence: Presence;
  /** What it is for, in one sentence; unit and limits come from the type. */
  readonly meaning: string;
  /** Written as a user would write it; several, separated by commas, for a list. */
  readonly default?: string;
}

export type Schema = Readonly<Record<string, Setting<unknown, 'required' | 'optional' | 'default'>>>;

export type Values<S> = {
  readonly [K in keyof S]: S[K] extends { type: Type<infer T>; presence: infer P }
    ? P extends 'optional'
      ? T | undefined
      : T
    : never;
};

/** A rule over several settings. Sees only those that were read without a problem. */
export type Rule<S> = (values: Partial<Values<S>>, report: (name: keyof S & string, message: string) => void) => void;

export interface Sources {
  /** By flag name without dashes in front; several values for a repeated flag. */
  readonly flags: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly file?: { readonly name: string; readonly text: string };
}

export interface ReadOptions<S> {
  readonly rules?: readonly Rule<S>[];
  /** Variables with the prefix that belong to others, such as the CLI's own. */
  readonly reservedVariables?: readonly string[];
}

const PREFIX = 'WRIT_';

/** A Kubernetes Service named `writ` puts these into every pod of its namespace; they are not ours. */
const serviceLink =
  /^WRIT(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$/;

export function required<T>(type: Type<T>, meaning: string): Setting<T, 'required'> {
  return { type, presence: 'required', meaning };
}

export function optional<T>(type: Type<T>, meaning: string): Setting<T, 'optional'> {
  return { type, presence: 'optional', meaning };
}

export function withDefault<T>(type: Type<T>, value: string, meaning: string): Setting<T, 'default'> {
  return { type, presence: 'default', meaning, default: value };
}

/**
 * Reads and checks every setting. Throws one AppError with a finding for each problem: `invalid-document` when all of them
 * are in the file, else `usage`.
 */
export function readConfig<const S extends Schema>(
  schema: S,
  sources: Sources,
  options: ReadOptions<S> = {},
): Values<S> {
  const problems = new Problems();
  const fromFile = flatten(schema, sources, problems);
  const fromVariables = variables(schema, sources.env, options.reservedVariables ?? [], problems);
  const fromFlags = flags(schema, sources.flags, problems);

  const values: Record<string, unknown> = {};
  const places = new Map<string, Place>();
  for (const [name, setting] of Object.entries(schema)) {
    const raw = fromFlags.get(name) ?? fromVariables.get(name) ?? fromFile.get(name);
    if (raw !== undefined) {
      places.set(name, raw.place);
      values[name] = setting.type.parse(raw, name, problems);
    } else if (setting.default !== undefined) {
      values[name] = setting.type.parse(defaultRaw(setting.default, setting.type), name, problems);
    } else if (setting.presence === 'required') {
      problems.add(
        flagPlace(name),
        name,
        `is missing. Give it as a flag, as ${variableOf(name)} or as ${name} in the file.`,
        'missing',
      );
    }
  }
  for (const rule of options.rules ?? []) {
    rule(values as Partial<Values<S>>, (name, message) => {
      problems.add(places.get(name) ?? flagPlace(name), name, message);
    });
  }
  if (problems.findings.length > 0) throw configError(problems);
  return Object.freeze(values) as Values<S>;
}

export interface ReferenceRow {
  readonly name: string;
  readonly flag: string;
  readonly variable: string;
  /** `--rest-listen <host:port>` */
  readonly usage: string;
  readonly repeatable: boolean;
  /** One line: meaning, limits, default. */
  readonly description: string;
}

/** The reference of a schema, one row for each setting, in the order of the schema. */
export function configReference(schema: Schema): readonly ReferenceRow[] {
  return Object.entries(schema).map(([name, setting]) => {
    const facts = [
      setting.type.limit,
      setting.presence === 'required' ? 'required' : '',
      setting.type.repeatable ? 'repeatable' : '',
      shownDefault(setting.default),
    ].filter((fact) => fact !== '');
    const form = setting.type.form === '' ? '' : ` <${setting.type.form}>`;
    return {
      name,
      flag: flagOf(name),
      variable: variableOf(name),
      usage: `${flagOf(name)}${form}`,
      repeatable: setting.type.repeatable ?? false,
      description: facts.length === 0 ? setting.meaning : `${setting.meaning} (${facts.join('; ')})`,
    };
  });
}

function shownDefault(value: string | undefined): string {
  // A flag is off unless it is given: everybody expects that.
  if (value === undefined || value === 'false') return '';
  return `default ${value === '' ? 'none' : value}`;
}

/** `rest.listen` → `--rest-listen` */
export function flagOf(name: string): string {
  return `--${kebab(name)}`;
}

/** `rest.listen` → `WRIT_REST_LISTEN` */
export function variableOf(name: string): string {
  return PREFIX + kebab(name).toUpperCase().replaceAll('-', '_');
}

function flagPlace(name: string): Place {
  return { kind: 'flag', name: flagOf(name), setting: name };
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replaceAll('.', '-');
}

function flags(schema: Schema, given: Sources['flags'], problems: Problems): Map<string, Raw> {
  const byFlag = new Map(Object.keys(schema).map((name) => [flagOf(name), name]));
  const found = new Map<string, Raw>();
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const name = byFlag.get(`--${key}`);
    const place: Place = { kind: 'flag', name: `--${key}`, setting: name ?? key };
    if (name === undefined) {
      problems.add(place, key, `is unknown.${didYouMean(`--${key}`, [...byFlag.keys()])}`, 'unknown-key');
    } else {
      found.set(name, rawOf(value, place));
    }
  }
  return found;
}

function variables(
  schema: Schema,
  env: Sources['env'],
  reserved: readonly string[],
  problems: Problems,
): Map<string, Raw> {
  const byVariable = new Map(Object.keys(schema).map((name) => [variableOf(name), name]));
  const found = new Map<string, Raw>();
  for (const [key, value] of Object.entries(env)) {
    if (!key.startsWith(PREFIX) || value === undefined || value === '') continue;
    const name = byVariable.get(key);
    const place: Place = { kind: 'variable', name: key, setting: name ?? key };
    if (name !== undefined) {
      const several = schema[name]?.type.repeatable && !value.includes('=');
      found.set(name, rawOf(several ? value.split(',') : value, place));
    } else if (!reserved.includes(key) && !serviceLink.test(key)) {
      problems.add(place, key, `is unknown.${didYouMean(key, [...byVariable.keys()])}`, 'unknown-key');
    }
  }
  return found;
}

/** Walks the file along the dots of the schema's names; whatever is not on the way is an unknown key. */
function flatten(schema: Schema, sources: Sources, problems: Problems): Map<string, Raw> {
  const found = new Map<string, Raw>();
  if (sources.file === undefined) return found;
  const names = Object.keys(schema);
  const walk = (entries: readonly RawEntry[], prefix: string) => {
    for (const entry of entries) {
      const name = prefix + entry.key;
      if (Object.hasOwn(schema, name)) {
        found.set(name, entry.value);
      } else if (!names.some((known) => known.startsWith(`${name}.`))) {
        problems.add(entry.keyPlace, name, `is unknown.${didYouMean(name, names)}`, 'unknown-key');
      } else if (entry.value.kind === 'map') {
        walk(entry.value.entries, `${name}.`);
      } else {
        problems.add(
          entry.value.place,
          name,
          `must be a map with ${names.filter((n) => n.startsWith(`${name}.`)).join(', ')}.`,
        );
      }
    }
  };
  walk(readConfigFile(sources.file.name, sources.file.text, problems), '');
  return found;
}

function rawOf(value: string | boolean | readonly string[], place: Place): Raw {
  if (typeof value === 'object') {
    return { kind: 'list', items: value.map((item) => ({ kind: 'text' as const, value: item, place })), place };
  }
  return { kind: 'text', value: String(value), place };
}

function defaultRaw(value: string, type: Type<unknown>): Raw {
  return rawOf(type.repeatable ? (value === '' ? [] : value.split(',')) : value, {
    kind: 'flag',
    name: 'default',
    setting: 'default',
  });
}

function configError(problems: Problems): AppError {
  const { findings } = problems;
  const code = findings.every((finding) => finding.file !== undefined) ? 'invalid-document' : 'usage';
  const count = findings.length === 1 ? 'one problem' : `${findings.length} problems`;
  return new AppError(code, `The configuration has ${count}; nothing was started.`, { details: findings });
}

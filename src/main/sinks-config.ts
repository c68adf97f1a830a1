import { resolve } from 'node:path';
import type { Rule, Schema, Values } from '../base/config.ts';
import { optional } from '../base/config.ts';
import type { Listen } from '../base/config-types.ts';
import { address, choice, integer, list, path, record, text } from '../base/config-types.ts';

const types = ['file', 'webhook', 'syslog', 'otlp', 'splunk'] as const;
const formats = ['ocsf', 'json', 'cef'] as const;
type SinkType = (typeof types)[number];
type SinkFormat = (typeof formats)[number];

const url = text({
  form: 'url',
  pattern: /^https?:\/\/[^\s@?#]{1,2000}$/,
  hint: 'https, without user, query and fragment',
});
const given = <T>(type: T) => ({ type, required: false }) as const;

/** Where copies of the audit record go (docs/sinks.md). */
export const sinksSchema = {
  'audit.sinks': optional(
    list(
      record({
        name: { type: text({ form: 'name', pattern: /^[a-z0-9][a-z0-9-]{0,62}$/ }), required: true },
        type: { type: choice(types), required: true },
        /** Default ocsf; an otlp sink has a form of its own. */
        format: given(choice(formats)),
        /** Where a new sink begins. Default start. */
        from: given(choice(['start', 'now'])),
        path: given(path),
        maxBytes: given(integer({ min: 1_048_576, max: 1_099_511_627_776, unit: 'bytes' })),
        url: given(url),
        /** Holds a URL that is itself a secret. */
        urlFile: given(path),
        address: given(address()),
        caFile: given(path),
        certificateFile: given(path),
        keyFile: given(path),
        secretFile: given(path),
        tokenFile: given(path),
      }),
      { max: 16 },
    ),
    'Where copies of the audit record go: files, webhooks, syslog, OpenTelemetry, Splunk',
  ),
} as const satisfies Schema;

type Written = NonNullable<Values<typeof sinksSchema>['audit.sinks']>[number];
type Key = keyof Written & string;

/** What each type needs, and what it may have besides; everything else is a mistake. */
const keysOf: Readonly<Record<SinkType, { readonly needs: readonly Key[]; readonly may: readonly Key[] }>> = {
  file: { needs: ['path'], may: ['format', 'maxBytes'] },
  webhook: { needs: ['secretFile'], may: ['url', 'urlFile', 'format', 'caFile', 'certificateFile', 'keyFile'] },
  syslog: { needs: ['address'], may: ['format', 'caFile', 'certificateFile', 'keyFile'] },
  otlp: { needs: [], may: ['url', 'urlFile', 'tokenFile', 'caFile', 'certificateFile', 'keyFile'] },
  splunk: { needs: ['tokenFile'], may: ['url', 'urlFile', 'format', 'caFile'] },
};

export const sinksRules: readonly Rule<typeof sinksSchema>[] = [
  (values, report) => {
    const key = 'audit.sinks';
    const names = new Set<string>();
    const files = new Set<string>();
    for (const sink of values[key] ?? []) {
      const { name, type } = sink;
      if (names.has(name)) report(key, `names ${name} twice: each sink has a position of its own under its name.`);
      names.add(name);
      if (sink.path !== undefined && files.has(resolve(sink.path))) report(key, `writes ${sink.path} with two sinks.`);
      if (sink.path !== undefined) files.add(resolve(sink.path));
      const { needs, may } = keysOf[type];
      for (const needed of needs) {
        if (sink[needed] === undefined) report(key, `needs ${needed} for ${name}, a sink of type ${type}.`);
      }
      const allowed = new Set<string>(['name', 'type', 'from', ...needs, ...may]);
      for (const [extra, value] of Object.entries(sink)) {
        if (value !== undefined && !allowed.has(extra))
          report(key, `has ${extra} for ${name}; a sink of type ${type} has none.`);
      }
      if (allowed.has('url') && (sink.url === undefined) === (sink.urlFile === undefined)) {
        report(key, `needs either url or urlFile for ${name}.`);
      }
      if ((sink.certificateFile === undefined) !== (sink.keyFile === undefined)) {
        report(key, `needs certificateFile and keyFile together for ${name}.`);
      }
      if (sink.url !== undefined && !isSafe(sink.url)) {
        report(key, `has http for ${name}: only a receiver on this machine is sent records in plain text.`);
      }
      if (type === 'splunk' && sink.format === 'cef') report(key, `has cef for ${name}: Splunk is sent JSON.`);
    }
  },
];

/** https; http on this machine only. */
export function isSafe(written: string): boolean {
  const parsed = URL.parse(written);
  if (parsed === null) return false;
  return parsed.protocol === 'https:' || /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(parsed.hostname);
}

/** Names files that hold secrets, and holds none. */
export interface SinkConfig {
  readonly name: string;
  readonly type: SinkType;
  readonly format: SinkFormat;
  readonly from: 'start' | 'now';
  readonly path: string | undefined;
  readonly maxBytes: number | undefined;
  readonly url: string | undefined;
  readonly urlFile: string | undefined;
  readonly address: Listen | undefined;
  readonly caFile: string | undefined;
  readonly certificateFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly secretFile: string | undefined;
  readonly tokenFile: string | undefined;
}

export function sinksConfig(values: Values<typeof sinksSchema>): readonly SinkConfig[] {
  const absolute = (file: string | undefined) => (file === undefined ? undefined : resolve(file));
  return Object.freeze(
    (values['audit.sinks'] ?? []).map((sink) =>
      Object.freeze({
        ...sink,
        format: sink.format ?? 'ocsf',
        from: sink.from ?? 'start',
        path: absolute(sink.path),
        urlFile: absolute(sink.urlFile),
        caFile: absolute(sink.caFile),
        certificateFile: absolute(sink.certificateFile),
        keyFile: absolute(sink.keyFile),
        secretFile: absolute(sink.secretFile),
        tokenFile: absolute(sink.tokenFile),
      }),
    ),
  );
}

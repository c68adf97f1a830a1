import type { Command } from 'commander';
import { parseDuration } from '../base/config-types.ts';
import { AppError } from '../base/errors.ts';
import type { EntryObject } from './api.ts';
import type { Client } from './client.ts';
import { serverInfo } from './info.ts';
import { choice } from './options.ts';
import type { World } from './world.ts';

/** What can be said of an entry on the command line. Absent: not said. */
export interface EntryOptions {
  readonly parent?: string;
  readonly label?: readonly string[];
  readonly selector?: readonly string[];
  readonly within?: readonly string[];
  readonly dns?: readonly string[];
  readonly federatesWith?: readonly string[];
  readonly claim?: readonly string[];
  readonly hint?: string;
  readonly expires?: string;
  readonly x509Ttl?: string;
  readonly jwtTtl?: string;
}

/** The fields of an entry that can be written, as the server calls them. */
export type EntryFields = Partial<
  Omit<EntryObject, 'id' | 'spiffeId' | 'revision' | 'createdAt' | 'updatedAt' | 'warnings'>
>;

export function addEntryOptions(command: Command): Command {
  return command
    .option('--parent <id>', 'who serves it: SPIFFE ID of an agent or alias, its path, or control-plane')
    .option('-l, --label <key=value>', 'label that policies select by; repeatable', collect)
    .option('--selector <text>', 'selector that attestation must prove; repeatable', collect)
    .option('--within <namespace>', 'namespace that a template may name; repeatable', collect)
    .option('--dns <name>', 'host name in its certificates; repeatable', collect)
    .option('--federates-with <domain>', 'other trust domain whose bundle it gets; repeatable', collect)
    .option('--claim <name=value>', 'claim in its tokens, as JSON or text; repeatable', collect)
    .option('--hint <text>', 'tells several identities of a workload apart')
    .option('--expires <when>', 'when it ends: a duration such as 30d, or a time')
    .option('--x509-ttl <duration>', 'longest lifetime of its certificates, such as 30m')
    .option('--jwt-ttl <duration>', 'longest lifetime of its tokens');
}

/** What goes back to its default, by the name of its option. */
const clearable = {
  parent: { parentId: null },
  label: { labels: {} },
  selector: { selectors: [] },
  within: { namespaces: [] },
  dns: { dnsNames: [] },
  'federates-with': { federatesWith: [] },
  claim: { jwtClaims: null },
  hint: { hint: '' },
  expires: { expiresAt: null },
  'x509-ttl': { x509TtlSeconds: null },
  'jwt-ttl': { jwtTtlSeconds: null },
} as const satisfies Record<string, EntryFields>;

export function addClear(command: Command): Command {
  const option = choice('--clear <option>', 'puts what this option sets back to its default', Object.keys(clearable));
  const check = option.parseArg;
  return command.addOption(
    option.argParser((given: string, before: readonly string[] | undefined) => [
      ...(before ?? []),
      String(check?.(given, undefined)),
    ]),
  );
}

export function clearedFields(names: readonly string[]): EntryFields {
  return Object.assign({}, ...names.map((name) => clearable[name as keyof typeof clearable])) as EntryFields;
}

/** Only what was said. Throws `usage`. */
export async function readEntryOptions(options: EntryOptions, client: Client, world: World): Promise<EntryFields> {
  const { parent, label, selector, within, dns, federatesWith, claim, hint, expires } = options;
  const x509TtlSeconds = ttl('--x509-ttl', options.x509Ttl);
  const jwtTtlSeconds = ttl('--jwt-ttl', options.jwtTtl);
  return {
    ...(label !== undefined && { labels: parsePairs('--label', label, (value) => value) }),
    ...(selector !== undefined && { selectors: selector }),
    ...(within !== undefined && { namespaces: within }),
    ...(dns !== undefined && { dnsNames: dns }),
    ...(federatesWith !== undefined && { federatesWith }),
    ...(claim !== undefined && { jwtClaims: parsePairs('--claim', claim, parseJsonOrText) }),
    ...(hint !== undefined && { hint }),
    ...(expires !== undefined && { expiresAt: parseExpiry(expires, world.clock.now()) }),
    ...(x509TtlSeconds !== undefined && { x509TtlSeconds }),
    ...(jwtTtlSeconds !== undefined && { jwtTtlSeconds }),
    // Last, since the server may have to be asked for its trust domain.
    ...(parent !== undefined && { parentId: await toParentId(parent, client) }),
  };
}

/** A SPIFFE ID as it is, a path in the trust domain of the server, or `control-plane`. */
export async function toParentId(text: string, client: Client): Promise<string> {
  if (text.startsWith('spiffe://')) return text;
  const path = text === 'control-plane' ? '/writ/control-plane' : text;
  if (!path.startsWith('/')) {
    throw new AppError(
      'usage',
      `--parent must be a SPIFFE ID, a path such as /nodes, or control-plane, not ${JSON.stringify(text)}.`,
    );
  }
  const { body } = await serverInfo(client.reader);
  return `spiffe://${body.trustDomain}${path}`;
}

/** Seconds, within what the server takes. */
export function ttl(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = parseDuration(text);
  if (seconds === undefined || seconds < 1 || seconds > 86_400) {
    throw new AppError('usage', `${flag} must be a duration from 1s to 24h, such as 10m, not ${JSON.stringify(text)}.`);
  }
  return seconds;
}

function parseExpiry(text: string, now: number): string {
  const seconds = parseDuration(text);
  const time = seconds === undefined ? Date.parse(text) : now + seconds * 1000;
  // Date.parse also takes what leaves the day or the zone open.
  if (Number.isNaN(time) || (seconds === undefined && !/^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/.test(text))) {
    throw new AppError(
      'usage',
      `--expires must be a duration such as 30d or a time such as 2030-01-31T08:00:00Z, not ${JSON.stringify(text)}.`,
    );
  }
  return new Date(time).toISOString();
}

function parsePairs<T>(flag: string, texts: readonly string[], parse: (value: string) => T): Record<string, T> {
  const pairs = new Map<string, T>();
  for (const text of texts) {
    const at = text.indexOf('=');
    if (at <= 0) throw new AppError('usage', `${flag} must be key=value, not ${JSON.stringify(text)}.`);
    const key = text.slice(0, at);
    if (pairs.has(key)) throw new AppError('usage', `The ${flag.slice(2)} ${key} is given twice.`);
    pairs.set(key, parse(text.slice(at + 1)));
  }
  return Object.fromEntries(pairs);
}

/** `3`, `true`, `["a"]` and `"3"` are JSON; whatever is none is text. */
function parseJsonOrText(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

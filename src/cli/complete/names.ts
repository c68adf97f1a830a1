import type { PageOf } from '../api.ts';
import { Client } from '../client.ts';
import { findContext, targetOf } from '../context.ts';
import type { AnyKind } from '../kinds.ts';
import { kinds, parseKind } from '../kinds.ts';
import { documentKinds } from '../policy-kinds.ts';
import type { World } from '../world.ts';
import type { Place } from './place.ts';

/** How long the control plane may take, in milliseconds: somebody waits with a finger on the key. */
const TIMEOUT_MS = 1_000;
/** Most objects that are asked for: the most that the server gives at once. */
const LIMIT = 500;

/**
 * The names that the control plane knows and that may stand at `place`, by what its argument or option calls its value:
 * `<reference>`, `<entry>`, `<workload>`, `<namespace>`. None for anything else. Rejects when they cannot be had.
 */
export async function namesAt(place: Place, value: string, world: World): Promise<readonly string[]> {
  const source = sources[value];
  if (source === undefined) return [];
  return source(place, await clientOf(place, world));
}

type Source = (place: Place, client: Client) => Promise<readonly string[]>;

const sources: Readonly<Record<string, Source>> = {
  reference: ({ operands, current }, client) => references(client, parseKind(operands[0] ?? ''), current),
  entry: ({ current }, client) => references(client, kinds.entry as AnyKind, current),
  // A workload is named by its identity, never by the id of an entry.
  workload: async ({ current }, client) =>
    (await references(client, kinds.entry as AnyKind, current)).filter((name) => name.includes('/')),
  namespace: async (_place, client) => {
    const lists = await Promise.all(
      [...Object.values(documentKinds), kinds.entry].map((kind) => list(client, kind as AnyKind, '')),
    );
    return lists.flat(2).flatMap((name) => /^([^/:]+)\/[^/]+$/.exec(name)?.[1] ?? []);
  },
};

/** One name for each object: the first that goes on from what is typed and means nothing else. */
async function references(client: Client, kind: AnyKind, typed: string): Promise<readonly string[]> {
  const items = await list(client, kind, typed);
  const meanings = new Map<string, number>();
  for (const name of items.flat()) meanings.set(name, (meanings.get(name) ?? 0) + 1);
  return items.flatMap((names) => {
    const fitting = names.filter((name) => name.startsWith(typed));
    return fitting.find((name) => meanings.get(name) === 1) ?? fitting[0] ?? [];
  });
}

/** The names of each object, one page of them. */
async function list(client: Client, kind: AnyKind, typed: string): Promise<readonly (readonly string[])[]> {
  const namespace = kind.namespaced ? /^([a-z0-9-]+)\//.exec(typed)?.[1] : undefined;
  const call = { method: 'GET', path: kind.path, query: { limit: LIMIT, namespace }, timeoutMs: TIMEOUT_MS } as const;
  const { body } = await client.call<PageOf<unknown>>(call);
  return body.items.map((item) => kind.names(item));
}

/** The control plane that the finished command would speak to, by the same rules. */
async function clientOf({ given }: Place, world: World): Promise<Client> {
  const addr = given.get('addr');
  const tokenFile = given.get('tokenFile');
  const flags = {
    ...(addr !== undefined && { addr }),
    // The shell has not expanded it yet.
    ...(tokenFile !== undefined && { tokenFile: tokenFile.replace(/^~(?=\/)/, () => world.home) }),
  };
  const target = await targetOf(await findContext(flags, world), given.has('allowPlaintext'));
  return new Client(target, { fetch: world.fetch });
}

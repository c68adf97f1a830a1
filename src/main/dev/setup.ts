import { stat, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { isMissing, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { EntryObject, IssuedTokenObject, PageOf, ProxyObject } from '../../cli/api.ts';
import type { Client } from '../../cli/client.ts';
import { workloadId } from '../../core/identity/spiffe-id.ts';
import { SvidStore } from '../../node/agent/svid-store.ts';
import { demoPolicies, NAMESPACE, TRUST_DOMAIN } from './demo.ts';
import type { DevDirectory } from './directory.ts';
import type { ServiceName } from './ports.ts';
import { serviceNames } from './ports.ts';

export type EntryIds = Readonly<Record<ServiceName, string>>;

/** Everything the demo mesh needs, over the same REST API that an admin uses. Can be repeated; changes nothing of the user's. */
export async function setUp(client: Client, directory: DevDirectory): Promise<EntryIds> {
  const [entries] = await Promise.all([ensureEntries(client), seedPolicies(client, directory)]);
  return entries;
}

async function ensureEntries(client: Client): Promise<EntryIds> {
  const query = { namespace: NAMESPACE, limit: 500 };
  const { body } = await client.call<PageOf<EntryObject>>({ method: 'GET', path: '/v1/entries', query });
  const ids: Partial<Record<ServiceName, string>> = {};
  for (const name of serviceNames) {
    const spiffeId = workloadId(TRUST_DOMAIN, NAMESPACE, name).uri;
    const existing = body.items.find((entry) => entry.spiffeId === spiffeId);
    ids[name] = existing?.id ?? (await createEntry(client, spiffeId, name)).id;
  }
  return ids as EntryIds;
}

async function createEntry(client: Client, spiffeId: string, name: ServiceName): Promise<EntryObject> {
  const json = { spiffeId, labels: { app: name } };
  return (await client.call<EntryObject>({ method: 'POST', path: '/v1/entries', json })).body;
}

/** Only at the first start of a directory: whoever deleted or changed a demo policy meant it. */
async function seedPolicies(client: Client, directory: DevDirectory): Promise<void> {
  if (await exists(directory.seededFile)) return;
  for (const { name, source } of demoPolicies) {
    try {
      const path = `/v1/policies/${NAMESPACE}/${name}`;
      await client.call({ method: 'PUT', path, headers: { 'if-none-match': '*' }, yaml: source });
    } catch (error) {
      // A start that was cut short put it already.
      if (!(error instanceof AppError) || error.code !== 'precondition-failed') throw error;
    }
  }
  await writeFileDurably(directory.seededFile, 'The demo policies were put; from here on policies are yours.\n');
}

/**
 * A fresh join token in the file of a sidecar, or of the agent. One that has a certificate does not use it; one that slept
 * longer than its certificate lasted enrolls anew. Without a control plane it has to do with what it has.
 */
export async function writeJoinToken(
  client: Client,
  directory: DevDirectory,
  name: ServiceName | 'agent',
  json: { readonly entryId: string } | { readonly agent: true },
): Promise<void> {
  try {
    const { body } = await client.call<IssuedTokenObject>({
      method: 'POST',
      path: '/v1/join-tokens',
      json,
      timeoutMs: 2_000,
    });
    await writeFile(directory.joinTokenOf(name), `${body.token}\n`, { mode: 0o600 });
  } catch (error) {
    if (!(error instanceof AppError) || !['unavailable', 'deadline-exceeded'].includes(error.code)) throw error;
  }
}

/** The namespace of whoever started the demo. */
const USER_NAMESPACE = 'dev';

/**
 * An identity for every process of the user who started the demo, from the agent beside it: a way to see the Workload API
 * work. An agent that enrolled anew is another one, and takes the entry over. Gives the identity.
 */
export async function ensureUserEntry(client: Client, directory: DevDirectory): Promise<string> {
  const { uid, username } = userInfo();
  const agent = (await new SvidStore(directory.agent).load())?.svid.id.uri;
  if (agent === undefined) throw new AppError('unavailable', 'The agent has no identity yet.');
  const spiffeId = workloadId(TRUST_DOMAIN, USER_NAMESPACE, asName(username)).uri;
  const json = { spiffeId, parentId: agent, selectors: [`unix:uid:${uid}`], labels: { app: asName(username) } };
  const query = { spiffeId, limit: 500 };
  const { body } = await client.call<PageOf<EntryObject>>({ method: 'GET', path: '/v1/entries', query });
  if (body.items.some((entry) => entry.parentId === agent)) return spiffeId;
  for (const entry of body.items.filter((each) => each.parentId?.includes('/writ/agent/join_token/'))) {
    await client.call({ method: 'DELETE', path: `/v1/entries/${entry.id}`, headers: { 'if-match': '*' } });
  }
  await client.call<EntryObject>({ method: 'POST', path: '/v1/entries', json });
  return spiffeId;
}

/** A user's name as a DNS label. */
function asName(username: string): string {
  const name = username
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63);
  return name === '' ? 'user' : name;
}

/** How long the sidecars may take to be in sync, in milliseconds, before the mesh is shown as it is. */
const SYNC_LIMIT_MS = 15_000;
const SYNC_POLL_MS = 50;

/**
 * Waits until every sidecar holds the latest policy and knows all services: from then on calls get their real answer.
 * Gives the services whose sidecars were not that far in time; none when told to stop.
 */
export async function untilInSync(
  client: Client,
  o: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<readonly ServiceName[]> {
  const end = o.clock.now() + SYNC_LIMIT_MS;
  while (!o.signal.aborted) {
    const { body } = await client.call<PageOf<ProxyObject>>({
      method: 'GET',
      path: '/v1/proxies',
      query: { limit: 500 },
    });
    const connected = body.items.filter((proxy) => proxy.connected);
    const behind = serviceNames.filter((name) => {
      const spiffeId = workloadId(TRUST_DOMAIN, NAMESPACE, name).uri;
      const own = connected.filter((proxy) => proxy.spiffeId === spiffeId);
      return own.length === 0 || own.some((proxy) => proxy.state !== 'synced');
    });
    if (behind.length === 0 || o.clock.now() >= end) return behind;
    await sleep(o.clock, SYNC_POLL_MS, o.signal);
  }
  return [];
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

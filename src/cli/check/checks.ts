import { X509Certificate } from 'node:crypto';
import { parseAddress } from '../../base/config-types.ts';
import { AppError } from '../../base/errors.ts';
import { parsePemCertificates } from '../../core/identity/bundle.ts';
import { verifyPeer } from '../../core/identity/chain.ts';
import { controlPlaneId } from '../../core/identity/spiffe-id.ts';
import { shortName } from '../api.ts';
import { addressOf, serverInfo } from '../info.ts';
import { kinds, listAll } from '../kinds.ts';
import { span } from '../table.ts';
import { MAX_SKEW_MS, nodeClocks } from './clocks.ts';
import { grants } from './grants.ts';
import type { Check } from './result.ts';
import { failed, ok, skipped, warning } from './result.ts';
import { presentedChain } from './tls.ts';

const TIMEOUT_MS = 3_000;
/** A root that ends sooner should have a successor by now. */
const ROOT_WARNING_DAYS = 60;

/** In the order they are made: later ones stand on earlier ones. */
export const checks: readonly Check[] = [
  {
    group: 'control plane',
    title: 'REST answers and accepts the token',
    async run(state) {
      const sentAt = state.world.clock.now();
      const reply = await serverInfo(state.client);
      state.info = reply.body;
      state.date = { sentAt, receivedAt: state.world.clock.now(), header: reply.headers.get('date') };
      return ok(`${state.client.target.url.origin}, trust domain ${reply.body.trustDomain}`);
    },
  },
  {
    group: 'control plane',
    title: 'versions match',
    async run({ info, world }) {
      if (info === undefined) return skipped('the server did not answer');
      if (info.version === world.version) return ok(info.version);
      return warning(
        `this program is ${world.version}, the server ${info.version}`,
        'Neighbouring versions work together; use the same one to be sure.',
      );
    },
  },
  {
    group: 'control plane',
    title: 'clocks agree',
    async run({ date }) {
      const server = Date.parse(date?.header ?? '');
      if (date === undefined || Number.isNaN(server)) return skipped('the server did not say its time');
      // The header has whole seconds, cut off.
      const skew = Math.max(date.sentAt - (server + 1000), server - date.receivedAt, 0);
      if (skew <= MAX_SKEW_MS) return ok();
      return warning(
        `they differ by ${span(skew / 1000)}`,
        'Synchronise both with NTP: certificates are refused before their time.',
      );
    },
  },
  {
    group: 'control plane',
    title: 'it is ready',
    async run({ info, client, world }) {
      const address = info === undefined ? undefined : parseAddress(addressOf(info, 'health') ?? '');
      if (address === undefined) return skipped('the server names no health address');
      const url = `http://${hostFor(address.host, client.target.url)}:${address.port}/readyz`;
      const response = await get(url, world.fetch);
      if (response === undefined) return warning(`cannot reach ${url}`, 'It may listen for its own network only.');
      if (response.ok) return ok();
      return failed(`${url} answers ${response.status}`, 'The server log says what it is waiting for.');
    },
  },
  {
    group: 'trust',
    title: 'the bundle has valid roots',
    async run(state) {
      state.roots = await state.client.text({
        method: 'GET',
        path: '/v1/bundle',
        headers: { accept: 'application/x-pem-file' },
      });
      const ends = parsePemCertificates(state.roots).map((der) => new X509Certificate(der).validToDate.getTime());
      const days = (Math.max(...ends) - state.world.clock.now()) / 86_400_000;
      if (ends.length === 0 || days <= 0)
        return failed('no root is valid', 'Every certificate is refused; make a new root.');
      if (days < ROOT_WARNING_DAYS) {
        return warning(
          `the last root ends in ${Math.floor(days)} days`,
          'Plan its successor: every sidecar must have it first.',
        );
      }
      return ok(`${ends.length} root${ends.length === 1 ? '' : 's'}, valid for ${Math.floor(days)} days`);
    },
  },
  {
    group: 'trust',
    title: 'gRPC presents a certificate that the bundle verifies',
    async run({ info, roots, client, world }) {
      const address = info === undefined ? undefined : parseAddress(addressOf(info, 'grpc') ?? '');
      if (info === undefined || roots === undefined || address === undefined)
        return skipped('address or bundle is not known');
      const at = { host: hostFor(address.host, client.target.url), port: address.port };
      const chain = await presentedChain(at, TIMEOUT_MS);
      const bundle = {
        trustDomain: info.trustDomain,
        roots: parsePemCertificates(roots),
        jwks: { keys: [] },
        sequence: 0,
      };
      const now = world.clock.now();
      const peer = verifyPeer(chain, bundle, { now });
      const expected = controlPlaneId(info.trustDomain).uri;
      if (peer.id.uri !== expected) {
        return failed(
          `it is ${peer.id.uri}, not ${expected}`,
          'Something else listens at the address of the control plane.',
        );
      }
      return ok(`${at.host}:${at.port}, valid for ${span((peer.notAfter - now) / 1000)}`);
    },
  },
  {
    group: 'sidecars',
    title: 'all are connected and hold the latest policy',
    async run({ info, client }) {
      if (info === undefined) return skipped('the server did not answer');
      const proxies = await listAll(client, kinds.proxy, {});
      const rejected = proxies.filter((proxy) => proxy.state === 'rejected');
      const behind = proxies.filter((proxy) => proxy.state !== 'synced' && proxy.state !== 'rejected');
      if (rejected.length > 0) {
        return failed(
          rejected
            .map((proxy) => `${shortName(proxy.spiffeId)} rejected: ${proxy.lastError ?? 'no reason given'}`)
            .join('; '),
          'They go on with the policy they had. A sidecar older than the server may not know what it was sent.',
        );
      }
      if (behind.length > 0) {
        return warning(
          behind.map((proxy) => `${shortName(proxy.spiffeId)} is ${proxy.state}`).join(', '),
          'A disconnected sidecar goes on with its last policy. See: writ get proxies',
        );
      }
      if (proxies.length === 0) return warning('there is none', 'Start one: writ sidecar --help');
      const plain = proxies.filter(({ plainTextPorts = [] }) => plainTextPorts.length > 0);
      const [open] = plain;
      if (open !== undefined) {
        return warning(
          `${plain.length} of ${proxies.length} let plain text in, such as ${shortName(open.spiffeId)} on ${open.plainTextPorts?.join(', ')}`,
          'Whoever reaches them needs no certificate. Once all callers are in the mesh, set the mode of the PeerAuthentication to STRICT.',
        );
      }
      return ok(`${proxies.length} in sync`);
    },
  },
  grants,
  nodeClocks,
];

/** A server that listens everywhere says 0.0.0.0; then it is where REST is. */
function hostFor(host: string, rest: URL): string {
  return host === '0.0.0.0' || host === '::' ? rest.hostname.replace(/^\[|\]$/g, '') : host;
}

async function get(url: string, fetching: typeof fetch): Promise<Response | undefined> {
  try {
    const response = await fetching(url, { redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) });
    await response.arrayBuffer();
    return response;
  } catch {
    return undefined;
  }
}

/** What a check that threw comes to. */
export function failure(error: unknown): ReturnType<typeof failed> {
  if (error instanceof AppError) return failed(error.message, hints[error.code] ?? '');
  throw error;
}

const hints: Readonly<Record<string, string>> = {
  unauthenticated: 'Give the token of this control plane with --token-file.',
  'peer-refused': 'Something else listens there, or the bundle is of another trust domain.',
};

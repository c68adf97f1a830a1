import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { copyFile, link, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { eventually } from '../support/dev-mesh.ts';
import { isExecutable } from '../support/tools.ts';
import { Foreign } from './foreign.ts';

const HTTP = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';

/** The program itself, which the wheel keeps behind a script; undefined without it. */
export function envoyProgram(): string | undefined {
  const lib = join(process.env.INTEROP_VENV ?? '', 'lib');
  if (process.env.INTEROP_VENV === undefined || !existsSync(lib)) return undefined;
  return readdirSync(lib)
    .map((python) => join(lib, python, 'site-packages/envoy/_bin/envoy'))
    .find(isExecutable);
}

const page = readFileSync(resolve(import.meta.dirname, '../../docs/identity.md'), 'utf8');

/** A part of a configuration as docs/identity.md has it, with what it says in particular replaced. */
function documented(name: string, replace: Readonly<Record<string, string>>): unknown {
  const block = new RegExp(`^\`\`\`yaml\n# envoy: ${name}\n([\\s\\S]*?)^\`\`\``, 'm').exec(page)?.[1];
  if (block === undefined) throw new Error(`docs/identity.md has no block "# envoy: ${name}"`);
  let text = block;
  for (const [from, to] of Object.entries(replace)) {
    if (!text.includes(from)) throw new Error(`"# envoy: ${name}" has no ${from}`);
    text = text.replaceAll(from, to);
  }
  return parse(text);
}

export type ApiType = 'GRPC' | 'DELTA_GRPC';

export interface EnvoyOptions {
  /** Files of its own go here. */
  readonly directory: string;
  /** The program, under a name of its own: see `asProgram`. */
  readonly program: string;
  readonly socketPath: string;
}

/** Envoy in front of a workload: answers callers with this identity, or all that verify, and says in `x-caller` who it was. */
export async function startFront(
  o: EnvoyOptions & { readonly api: ApiType; readonly caller: string | 'anybody' },
): Promise<Envoy> {
  const matcher = o.caller === 'anybody' ? 'prefix: "spiffe://"' : `exact: "${o.caller}"`;
  return await Envoy.start(o, {
    listener: {
      transport_socket: documented('downstream tls', {
        'exact: "spiffe://example.org/ns/shop/sa/web"': matcher,
        'api_type: GRPC': `api_type: ${o.api}`,
      }),
      virtual_host: {
        name: 'all',
        domains: ['*'],
        response_headers_to_add: [{ header: { key: 'x-caller', value: '%DOWNSTREAM_PEER_URI_SAN%' } }],
        routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hello' } } }],
      },
    },
    clusters: [],
  });
}

/** Envoy on the way out of a workload: takes plain calls, and makes each over a connection of its own. */
export async function startBack(
  o: EnvoyOptions & { readonly api: ApiType; readonly server: string; readonly port: number },
): Promise<Envoy> {
  return await Envoy.start(o, {
    listener: {
      virtual_host: { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'orders' } }] },
    },
    clusters: [
      {
        name: 'orders',
        type: 'STATIC',
        connect_timeout: '2s',
        typed_extension_protocol_options: {
          [HTTP]: {
            '@type': `type.googleapis.com/${HTTP}`,
            common_http_protocol_options: { max_requests_per_connection: 1 },
            explicit_http_config: { http_protocol_options: {} },
          },
        },
        load_assignment: {
          cluster_name: 'orders',
          endpoints: [{ lb_endpoints: [{ endpoint: { address: address(o.port) } }] }],
        },
        transport_socket: documented('upstream tls', {
          'spiffe://example.org/ns/shop/sa/orders': o.server,
          'api_type: DELTA_GRPC': `api_type: ${o.api}`,
        }),
      },
    ],
  });
}

interface Parts {
  readonly listener: { readonly transport_socket?: unknown; readonly virtual_host: object };
  readonly clusters: readonly object[];
}

/** One Envoy, as a process of its own. */
export class Envoy {
  readonly process: Foreign;
  readonly #admin: string;
  /** That it listens on, on loopback. */
  port = 0;

  /** Resolves when it has its secrets and listens. */
  static async start(o: EnvoyOptions, parts: Parts): Promise<Envoy> {
    const config = `${o.program}.json`;
    await writeFile(config, JSON.stringify(bootstrap(o, parts), undefined, 2));
    const addressFile = `${o.program}.admin`;
    await rm(addressFile, { force: true });
    const process = new Foreign(o.program, [
      ...['--config-path', config, '--admin-address-path', addressFile],
      ...['--use-dynamic-base-id', '--disable-hot-restart', '--concurrency', '1', '--log-level', 'error'],
    ]);
    onTestFinished(() => process.stop());
    try {
      const admin = await eventually('the admin address of Envoy', 15_000, async () => {
        const text = await readFile(addressFile, 'utf8');
        return text === '' ? undefined : text;
      });
      const envoy = new Envoy(process, `http://${admin}`);
      envoy.port = await eventually('Envoy listens', 15_000, async () => await envoy.#listening());
      return envoy;
    } catch (cause) {
      throw new Error(`${String(cause)}\n${process.output}`, { cause });
    }
  }

  private constructor(process: Foreign, admin: string) {
    this.process = process;
    this.#admin = admin;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  /** Serial numbers, hex, of the leaf certificates that it shows at the moment. */
  async leafSerials(): Promise<readonly string[]> {
    const { certificates } = (await this.#ask('/certs')) as {
      certificates: { cert_chain?: { serial_number: string }[] }[];
    };
    return certificates.flatMap(({ cert_chain }) => cert_chain?.[0]?.serial_number ?? []);
  }

  /** How many roots it verifies others with. */
  async rootCount(): Promise<number> {
    const { certificates } = (await this.#ask('/certs')) as { certificates: { ca_cert?: unknown[] }[] };
    return Math.max(0, ...certificates.map(({ ca_cert }) => ca_cert?.length ?? 0));
  }

  /** The sum of all its counters whose name ends so. */
  async counter(suffix: string): Promise<number> {
    const { stats } = (await this.#ask(`/stats?format=json&filter=${suffix}$`)) as {
      stats: { name?: string; value?: number }[];
    };
    return stats.reduce((sum, { value }) => sum + (value ?? 0), 0);
  }

  async #listening(): Promise<number | undefined> {
    const { state } = (await this.#ask('/server_info')) as { state: string };
    if (state !== 'LIVE') return undefined;
    const { listener_statuses: all } = (await this.#ask('/listeners?format=json')) as {
      listener_statuses?: { local_address: { socket_address: { port_value: number } } }[];
    };
    return all?.[0]?.local_address.socket_address.port_value;
  }

  async #ask(path: string): Promise<unknown> {
    const answer = await fetch(`${this.#admin}${path}`);
    return await answer.json();
  }
}

/**
 * A program under a path of its own, so that `unix:path` tells it from the others. The file itself where that can be: two
 * names, one program.
 */
export async function asProgram(original: string, path: string): Promise<string> {
  await link(original, path).catch(() => copyFile(original, path));
  return path;
}

function bootstrap(o: EnvoyOptions, { listener, clusters }: Parts): object {
  return {
    node: { id: 'test', cluster: 'test' },
    admin: { address: address(0) },
    static_resources: {
      clusters: [documented('sds cluster', { '/run/writ/agent.sock': o.socketPath }), ...clusters],
      listeners: [
        {
          name: 'in',
          address: address(0),
          filter_chains: [
            {
              ...(listener.transport_socket !== undefined && { transport_socket: listener.transport_socket }),
              filters: [
                {
                  name: 'http',
                  typed_config: {
                    '@type': `type.googleapis.com/${MANAGER}`,
                    stat_prefix: 'in',
                    route_config: { virtual_hosts: [listener.virtual_host] },
                    http_filters: [{ name: 'router', typed_config: { '@type': `type.googleapis.com/${ROUTER}` } }],
                  },
                },
              ],
            },
          ],
        },
      ],
    },
  };
}

function address(port: number): object {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

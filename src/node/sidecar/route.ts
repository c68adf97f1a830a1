import type { EndpointProtocol, Service, ServiceEndpoint } from '../../core/policy/snapshot.ts';
import type { PolicyState } from './policy-state.ts';
import type { Problem } from './problem.ts';

/** Where a call goes: a service, and its endpoints in the order in which they are tried. */
export interface Route {
  readonly service: Service;
  readonly endpoints: readonly ServiceEndpoint[];
}

export type Routed = ({ readonly ok: true } & Route) | { readonly ok: false; readonly problem: Problem };

const label = '[a-z0-9](?:[a-z0-9-]*[a-z0-9])?';
const meshName = new RegExp(`^(${label}\\.${label}(?:\\.[a-z0-9._-]{1,255})?)\\.mesh\\.?(?::[0-9]{1,5})?$`);
/** Longest name of a service in the mesh: two labels, a trust domain, and what goes around them. */
const MAX_AUTHORITY_CHARACTERS = 400;

/**
 * `<service>.<namespace>`, or `<service>.<namespace>.<trust domain>`, of a Host or :authority; the port in it has no meaning
 * in the mesh.
 */
export function serviceOf(authority: string): string | undefined {
  if (authority.length > MAX_AUTHORITY_CHARACTERS) return undefined;
  return meshName.exec(authority.toLowerCase())?.[1];
}

/** Chooses endpoints, round robin. */
export class Router {
  readonly #state: () => PolicyState | undefined;
  #turn = 0;

  constructor(state: () => PolicyState | undefined) {
    this.#state = state;
  }

  route(authority: string, protocol: EndpointProtocol): Routed {
    const state = this.#state();
    if (state === undefined) return refuse(503, 'This sidecar does not know the services of the mesh yet.');
    const name = serviceOf(authority);
    const service = name === undefined ? undefined : state.services.get(name);
    // Not which others there are: that is asked elsewhere.
    if (service === undefined) return refuse(404, 'There is no such service in the mesh: <service>.<namespace>.mesh.');
    const suitable = service.endpoints.filter((endpoint) => endpoint.protocol === protocol);
    if (suitable.length === 0) {
      return refuse(503, `No sidecar of ${name}.mesh that serves ${protocol} is connected to the mesh.`);
    }
    this.#turn = (this.#turn + 1) % 0x4000_0000;
    const first = this.#turn % suitable.length;
    return { ok: true, service, endpoints: [...suitable.slice(first), ...suitable.slice(0, first)] };
  }
}

function refuse(status: 404 | 503, detail: string): Routed {
  return { ok: false, problem: { status, code: status === 404 ? 'not-found' : 'unavailable', detail } };
}

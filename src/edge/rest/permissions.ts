import type { Permission } from '../../core/identity/roles.ts';
import { policyKindNames, policyKinds } from '../../core/policy/kinds.ts';

/**
 * What each route needs: the one place that says so. A route that is not here is for `admin` alone, and counts as a write
 * unless its method is GET: so a new one is never open by mistake. A test holds this table and the routes against each other.
 *
 * Routes that need no token (the page, its documentation, the public keys, a public log) are not here, and are not recorded.
 */
export const permissionOf: ReadonlyMap<string, Permission> = new Map<string, Permission>([
  ['GET /v1/whoami', 'self:read'],
  ['GET /v1/info', 'self:read'],
  ['GET /v1/openapi.json', 'self:read'],

  ...policyKindNames.flatMap((kind) => routesOfKind(`/v1/${policyKinds[kind].plural}`)),
  ['GET /v1/revisions', 'policies:read'],
  ['POST /v1/policies::check', 'policies:read'],
  // Their answers hold who called whom.
  ['POST /v1/policies::plan', 'calls:read'],
  ['POST /v1/policies::test', 'policies:read'],
  ['POST /v1/policies::suggest', 'calls:read'],
  ['GET /v1/policy-changes', 'policies:read'],
  ['POST /v1/policy-changes', 'policies:write'],
  ['GET /v1/policy-changes/:revision', 'policies:read'],
  ['POST /v1/policy-changes/:revision([^/:]+)::approve', 'changes:approve'],
  ['POST /v1/policy-changes/:revision([^/:]+)::reject', 'changes:approve'],
  ['POST /v1/policy-changes/:revision([^/:]+)::apply', 'policies:write'],
  ['POST /v1/policy-changes/:revision([^/:]+)::rollout', 'policies:write'],
  ['POST /v1/policy-changes/:revision([^/:]+)::abort', 'policies:write'],

  ['GET /v1/entries', 'identities:read'],
  ['POST /v1/entries', 'identities:write'],
  ['GET /v1/entries/:id', 'identities:read'],
  ['PUT /v1/entries/:id', 'identities:write'],
  ['DELETE /v1/entries/:id', 'identities:write'],
  ['POST /v1/entries::import', 'identities:write'],
  ['GET /v1/join-tokens', 'identities:read'],
  ['POST /v1/join-tokens', 'identities:write'],
  ['DELETE /v1/join-tokens/:id', 'identities:write'],
  ['GET /v1/nodes', 'identities:read'],
  ['GET /v1/nodes/:instanceId', 'identities:read'],
  ['DELETE /v1/nodes/:instanceId', 'identities:write'],
  ['POST /v1/nodes/:instanceId([^/:]+)::ban', 'identities:write'],
  ['POST /v1/nodes/:instanceId([^/:]+)::unban', 'identities:write'],
  ['GET /v1/federation', 'identities:read'],
  ['GET /v1/federation/:trustDomain', 'identities:read'],
  ['PUT /v1/federation/:trustDomain', 'identities:write'],
  ['DELETE /v1/federation/:trustDomain', 'identities:write'],
  ['POST /v1/federation/:trustDomain([^/:]+)::refresh', 'identities:write'],

  ['GET /v1/authorities', 'keys:read'],
  ['POST /v1/authorities::prepare', 'keys:write'],
  ['POST /v1/authorities::rotate', 'keys:write'],
  ['POST /v1/authorities/:id([^/:]+)::activate', 'keys:write'],
  ['POST /v1/authorities/:id([^/:]+)::taint', 'keys:write'],
  ['POST /v1/authorities/:id([^/:]+)::revoke', 'keys:write'],

  ['GET /v1/quarantines', 'quarantine:read'],
  ['POST /v1/quarantines', 'quarantine:write'],
  ['GET /v1/quarantines/:id', 'quarantine:read'],
  ['POST /v1/quarantines/:id([^/:]+)::release', 'quarantine:write'],

  ['GET /v1/proxies', 'proxies:read'],

  ['GET /v1/audit/events', 'calls:read'],
  ['GET /v1/audit/events/:id', 'calls:read'],
  ['GET /v1/audit/tail', 'calls:read'],
  ['GET /v1/audit/identity', 'audit:read'],
  ['GET /v1/audit/identity/:id', 'audit:read'],
  ['GET /v1/audit/identity/tail', 'audit:read'],
  ['GET /v1/audit/admin', 'audit:read'],
  ['GET /v1/audit/admin/:id', 'audit:read'],
  ['GET /v1/audit/admin/tail', 'audit:read'],
  ['GET /v1/audit/log', 'calls:read'],
  ['GET /v1/audit/proofs/:id', 'audit:read'],
  ['GET /v1/audit/sinks', 'audit:read'],
  ['GET /v1/audit/batches/*', 'audit:read'],
  ['GET /v1/audit/index', 'calls:read'],
  ['POST /v1/audit/index::rebuild', 'audit:write'],
  ['GET /log/checkpoint', 'calls:read'],
  ['GET /log/tile/*', 'calls:read'],

  ['GET /v1/tokens', 'tokens:read'],
  ['POST /v1/tokens', 'tokens:write'],
  ['DELETE /v1/tokens/:id', 'tokens:write'],
]);

/** Every kind of object has the same. */
function routesOfKind(path: string): readonly (readonly [string, Permission])[] {
  const one = `${path}/:namespace/:name`;
  return [
    [`GET ${path}`, 'policies:read'],
    [`GET ${one}`, 'policies:read'],
    [`PUT ${one}`, 'policies:write'],
    [`DELETE ${one}`, 'policies:write'],
    [`GET ${one}/revisions`, 'policies:read'],
    [`GET ${one}/revisions/:revision`, 'policies:read'],
    [`POST ${one}([^/:]+)::rollback`, 'policies:write'],
  ];
}

/** As the table names it; `undefined` for a route that is not there. */
export function routeOf(method: string, url: string | undefined): string | undefined {
  // HEAD is GET without a body.
  return url === undefined ? undefined : `${method === 'HEAD' ? 'GET' : method} ${url}`;
}

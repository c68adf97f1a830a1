import { isIP } from 'node:net';
import { AppError } from '../../base/errors.ts';
import type { Administrator } from '../../control/access/tokens.ts';
import { may, rolesThatMay } from '../../core/identity/roles.ts';
import type { App } from './app.ts';
import { isApi, setHeaders } from './headers.ts';
import { permissionOf, routeOf } from './permissions.ts';
import { HttpError } from './problem.ts';

export interface TokensPort {
  /** Who presents it; `undefined`: nobody that we know. */
  authenticate(presented: string): Administrator | undefined | Promise<Administrator | undefined>;
}

export interface GuardOptions {
  /** Address that the server is bound to. */
  readonly host: string;
  /** Port it listens on, known once it does. */
  readonly port: () => number;
  readonly tokens: TokensPort;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
}

/** What every request passes before its route: headers of every answer, the host that it names, the token that it carries, the role of that. */
export function guard(app: App, options: GuardOptions): void {
  const loopback = isLoopback(options.host);
  app.addHook('onRequest', async (request, reply) => {
    setHeaders(request, reply);
    if (options.stopping.aborted)
      throw new AppError('unavailable', 'The server is stopping. Try again.', { retryAfterSeconds: 1 });
    if (loopback) checkHost(request.headers.host, options.port());
    // Unknown paths below /v1 ask for a token too, so that nobody without one learns what exists.
    const isPublic = request.routeOptions.config.public === true || (request.is404 && !isApi(request));
    if (isPublic) return;
    const who = await authenticate(request.headers.authorization, options.tokens);
    request.administrator = who;
    request.caller = who.name;
    if (!request.is404) authorize(who, routeOf(request.method, request.routeOptions.url));
  });
  app.setNotFoundHandler(async (request, reply) => {
    const path = request.url.split('?', 1)[0] ?? '';
    const methods = allowedMethods(app, path);
    if (methods.length === 0)
      throw new AppError('not-found', 'There is nothing at this path. GET /v1/openapi.json lists what there is.');
    reply.header('allow', methods.join(', '));
    throw new HttpError(
      405,
      `${request.method} is not possible here; ${methods.join(', ')} ${methods.length > 1 ? 'are' : 'is'}.`,
    );
  });
}

/** RFC 6750. One message for every failure: it does not say which part was wrong. */
async function authenticate(header: string | undefined, tokens: GuardOptions['tokens']): Promise<Administrator> {
  const presented = presentedToken(header);
  const who = presented === undefined ? undefined : await tokens.authenticate(presented);
  if (who === undefined)
    throw new AppError(
      'unauthenticated',
      'This needs the header "Authorization: Bearer <admin token>" with a valid token.',
    );
  return who;
}

/** By the one table. A route that is not in it is for `admin` alone. Throws `forbidden`. */
function authorize({ role }: Administrator, route: string | undefined): void {
  const permission = permissionOf.get(route ?? '');
  if (permission === undefined ? role === 'admin' : may(role, permission)) return;
  const able = permission === undefined ? ['admin'] : rolesThatMay(permission);
  throw new AppError(
    'forbidden',
    `This needs ${permission === undefined ? 'a permission' : `the permission ${permission}`} that your role (${role}) does not have. ` +
      `Roles that do: ${able.join(', ')}. See: writ whoami`,
  );
}

/**
 * A page of another site can make a browser call a loopback address under a name of its own (DNS rebinding). Such calls
 * carry that name as Host; on loopback only these are ours.
 */
function checkHost(header: string | undefined, port: number): void {
  const hosts = ['localhost', '127.0.0.1', '[::1]'].flatMap((name) =>
    port === 80 ? [name, `${name}:80`] : [`${name}:${port}`],
  );
  if (header === undefined || !hosts.includes(header.toLowerCase()))
    throw new AppError('forbidden', `The Host header is not one of this server's: ${hosts.join(', ')}.`);
}

/** RFC 6750 §2.1. A secret: it goes nowhere but into a comparison or a derivation. */
export function presentedToken(header: string | undefined): string | undefined {
  return /^Bearer +([\x21-\x7e]{1,512})$/i.exec(header ?? '')?.[1];
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Of the routes that exist at `path`. */
function allowedMethods(app: App, path: string): string[] {
  return ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'].filter(
    (method) => app.findRoute({ method, url: path }) !== null,
  );
}

import type { ErrorCode, Finding } from '../base/errors.ts';
import { AppError } from '../base/errors.ts';
import { errorTable, isErrorCode } from '../wire/errors.ts';
import { curl } from './curl.ts';

/** Where the control plane is and what proves who asks. */
export interface Target {
  /** Base URL without a path. */
  readonly url: URL;
  readonly token?: string;
  /** File the token came from: shown instead of it. */
  readonly tokenFile?: string;
  /** What to do when nobody answers there. */
  readonly hint: string;
}

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Path below the base URL, escaped. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as `application/yaml`. */
  readonly yaml?: string;
  readonly signal?: AbortSignal;
  /** Until the answer is complete. Default 10 s. */
  readonly timeoutMs?: number;
}

export interface Reply<T> {
  readonly status: number;
  readonly body: T;
  readonly headers: Headers;
}

/** What the server said was wrong. */
export class RemoteError extends AppError {
  readonly status: number;
  readonly requestId: string | undefined;
  /** Address of the server's page about error codes, each of which is a fragment there; if it said that it has one. */
  readonly errorsPage: string | undefined;

  constructor(status: number, problem: ProblemLike, retryAfter: number | undefined) {
    super(problem.code, problem.detail, {
      details: problem.errors,
      ...(retryAfter === undefined ? {} : { retryAfterSeconds: retryAfter }),
    });
    this.status = status;
    this.requestId = problem.requestId;
    this.errorsPage = problem.errorsPage;
  }

  /** The same, where a command knows better than the server what it means to its user. */
  as(o: { readonly code?: ErrorCode; readonly message?: string; readonly details?: readonly Finding[] }): RemoteError {
    const said = {
      code: o.code ?? this.code,
      detail: o.message ?? this.message,
      errors: o.details ?? this.details,
      requestId: this.requestId,
      errorsPage: this.errorsPage,
    };
    return new RemoteError(this.status, said, this.retryAfterSeconds);
  }
}

/** `--curl`: the call was printed instead of made. */
export class CurlShown extends Error {}

interface ProblemLike {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly errors: readonly Finding[];
  readonly requestId: string | undefined;
  readonly errorsPage: string | undefined;
}

/** REST, with a deadline on every call and every failure as an AppError. */
export class Client {
  readonly target: Target;
  readonly #fetch: typeof fetch;
  readonly #showCurl: ((line: string) => void) | undefined;

  /** @param showCurl given: calls are shown and not made. */
  constructor(target: Target, deps: { readonly fetch: typeof fetch; readonly showCurl?: (line: string) => void }) {
    this.target = target;
    this.#fetch = deps.fetch;
    this.#showCurl = deps.showCurl;
  }

  /** The same control plane for reads that a changing call is built on: with --curl too they are made, not shown. */
  get reader(): Client {
    return this.#showCurl === undefined ? this : new Client(this.target, { fetch: this.#fetch });
  }

  /** Makes the call and reads its JSON. Throws `RemoteError`, `unavailable` or `deadline-exceeded`. */
  async call<T>(call: Call): Promise<Reply<T>> {
    const response = await this.open(call, AbortSignal.timeout(call.timeoutMs ?? 10_000));
    const text = await this.#reading(response.text());
    return { status: response.status, body: parseJson(text) as T, headers: response.headers };
  }

  /** Makes the call and gives the body as it is. */
  async text(call: Call): Promise<string> {
    const response = await this.open(call, AbortSignal.timeout(call.timeoutMs ?? 10_000));
    return this.#reading(response.text());
  }

  /** The same, or `undefined` for what does not exist. */
  async find<T>(call: Call): Promise<Reply<T> | undefined> {
    try {
      return await this.call<T>(call);
    } catch (error) {
      if (error instanceof AppError && error.code === 'not-found') return undefined;
      throw error;
    }
  }

  /** Makes the call and leaves the body to be read, for streams. `deadline` cuts the reading too. */
  async open(call: Call, deadline?: AbortSignal): Promise<Response> {
    const url = this.#url(call);
    const body = call.yaml ?? (call.json === undefined ? undefined : JSON.stringify(call.json));
    const headers: Record<string, string> = { accept: 'application/json', ...call.headers };
    if (call.yaml !== undefined) headers['content-type'] = 'application/yaml';
    else if (body !== undefined) headers['content-type'] = 'application/json';
    if (this.#showCurl !== undefined) {
      this.#showCurl(curl({ method: call.method, url, headers, body, tokenFile: this.target.tokenFile }));
      throw new CurlShown();
    }
    if (this.target.token !== undefined) headers.authorization = `Bearer ${this.target.token}`;
    const signals = [call.signal, deadline].filter((signal) => signal !== undefined);
    const response = await this.#reading(
      this.#fetch(url, {
        method: call.method,
        headers,
        ...(body === undefined ? {} : { body }),
        // A redirect would carry the token to another place.
        redirect: 'error',
        ...(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) }),
      }),
    );
    if (!response.ok) throw await remoteError(response, this.target.url);
    return response;
  }

  #url(call: Call): URL {
    const url = new URL(call.path, this.target.url);
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return url;
  }

  async #reading<R>(reading: Promise<R>): Promise<R> {
    try {
      return await reading;
    } catch (cause) {
      throw this.#unreachable(cause);
    }
  }

  #unreachable(cause: unknown): unknown {
    const where = this.target.url.origin;
    if (cause instanceof Error && cause.name === 'TimeoutError') {
      return new AppError(
        'deadline-exceeded',
        `The control plane at ${where} did not answer in time. Try again, or see how it is: writ check`,
        {
          cause,
        },
      );
    }
    if (cause instanceof Error && cause.name === 'AbortError') return cause;
    return new AppError(
      'unavailable',
      `Cannot reach the control plane at ${where}: ${why(cause)}. ${this.target.hint}`,
      {
        cause,
      },
    );
  }
}

/** The short reason inside fetch's "fetch failed". */
function why(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof AggregateError && at.errors.length > 0) return why(at.errors[0]);
    if ('code' in at && typeof at.code === 'string') return reasons[at.code] ?? at.code;
    if (at.cause === undefined) return reasons[at.message] ?? at.message;
  }
  return 'unknown error';
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'the host name is unknown',
  ECONNRESET: 'the connection was reset',
  UND_ERR_SOCKET: 'the connection ended early',
  UND_ERR_CONNECT_TIMEOUT: 'connecting took too long',
  // fetch keeps to the list of browsers: https://fetch.spec.whatwg.org/#port-blocking
  'bad port': 'HTTP clients refuse this port, since another protocol owns it',
  HPE_INVALID_CONSTANT: 'it does not speak HTTP',
};

/** Reads problem+json as it comes: whatever is missing has a stand-in, since a proxy may answer in the server's place. */
async function remoteError(response: Response, server: URL): Promise<RemoteError> {
  const said = parseJson(await response.text().catch(() => ''));
  const problem = typeof said === 'object' && said !== null ? (said as Record<string, unknown>) : {};
  const code = isErrorCode(problem.code) ? problem.code : codeOf(response.status);
  const detail =
    typeof problem.detail === 'string'
      ? problem.detail
      : `The server answered ${response.status} ${response.statusText}.`;
  const requestId = problem.requestId ?? response.headers.get('x-request-id');
  const retryAfter = Number(problem.retryAfter ?? response.headers.get('retry-after') ?? Number.NaN);
  return new RemoteError(
    response.status,
    {
      code,
      detail,
      errors: findings(problem.errors),
      requestId: typeof requestId === 'string' ? requestId : undefined,
      errorsPage: errorsPageOf(problem.type, code, server),
    },
    Number.isFinite(retryAfter) ? retryAfter : undefined,
  );
}

/**
 * The type of a problem is a reference, relative to the request (RFC 9457 §3.1.1), to the paragraph about its code. Only a
 * page of the same server is named to the user: what answers in its place could point anywhere.
 */
function errorsPageOf(type: unknown, code: ErrorCode, server: URL): string | undefined {
  if (typeof type !== 'string' || !URL.canParse(type, server.href)) return undefined;
  const named = new URL(type, server);
  const page = `${server.origin}/docs/errors`;
  return named.href === `${page}#${code}` ? page : undefined;
}

function codeOf(status: number): ErrorCode {
  const found = Object.entries(errorTable).find(([, meaning]) => meaning.http === status)?.[0];
  if (isErrorCode(found)) return found;
  return status >= 500 ? 'unavailable' : 'invalid';
}

function findings(said: unknown): readonly Finding[] {
  if (!Array.isArray(said)) return [];
  return said.flatMap((each: unknown) => {
    if (typeof each !== 'object' || each === null) return [];
    const { code, detail, pointer, file, line, column } = each as Record<string, unknown>;
    return [
      {
        code: String(code ?? 'invalid'),
        message: String(detail ?? ''),
        ...(typeof pointer === 'string' && { pointer }),
        ...(typeof file === 'string' && { file }),
        ...(typeof line === 'number' && { line }),
        ...(typeof column === 'number' && { column }),
      },
    ];
  });
}

function parseJson(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

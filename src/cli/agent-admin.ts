import { request } from 'node:http';
import { reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import { isErrorCode } from '../wire/errors.ts';

/** What `GET /v1/why` of an agent tells about a process. */
export interface ProcessReport {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly selectors: readonly string[];
  readonly failures: readonly { readonly attestor: string; readonly message: string }[];
  readonly identities: readonly { readonly spiffeId: string; readonly entryId: string; readonly hint: string }[];
  readonly nearest: readonly {
    readonly entryId: string;
    readonly spiffeId: string;
    readonly missing: readonly { readonly selector: string; readonly instead: readonly string[] }[];
    readonly notes: readonly string[];
  }[];
  readonly entries: number;
  readonly connected: boolean;
}

const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
/** The kubelet may have to be asked for half a minute. */
const TIMEOUT_MS = 40_000;

/** Asks the agent of this machine. Throws what it answered with, or `unavailable`, `forbidden` when it cannot be asked. */
export function askAgent<T>(socketPath: string, path: string, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = request({
      socketPath,
      path,
      agent: false,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    call.once('error', (cause) => reject(unreachable(socketPath, cause)));
    call.once('response', (response) => {
      const parts: Buffer[] = [];
      let total = 0;
      response.on('data', (part: Buffer) => {
        total += part.length;
        if (total > MAX_ANSWER_BYTES) call.destroy(new Error('too much'));
        else parts.push(part);
      });
      response.once('error', (cause) => reject(unreachable(socketPath, cause)));
      response.once('end', () => {
        try {
          const body: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'));
          if (response.statusCode === 200) resolve(body as T);
          else reject(refused(body));
        } catch (cause) {
          reject(unreachable(socketPath, cause));
        }
      });
    });
    call.end();
  });
}

function refused(body: unknown): AppError {
  const { code, detail } = body as { readonly code?: unknown; readonly detail?: unknown };
  return new AppError(
    isErrorCode(code) ? code : 'unavailable',
    typeof detail === 'string' ? detail : 'The agent gave no reason.',
  );
}

function unreachable(socketPath: string, cause: unknown): AppError {
  const why = reason(cause);
  if (['EACCES', 'EPERM', 'ECONNRESET', 'EPIPE'].includes(why)) {
    return new AppError(
      'forbidden',
      `Only the user of the agent, and root, may ask it at ${socketPath}. Ask as one of them.`,
      { cause },
    );
  }
  return new AppError(
    'unavailable',
    `No agent answers at ${socketPath} (${why}). Start \`writ agent\`, or name its admin socket with --admin-socket.`,
    { cause },
  );
}

import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { Claim, IdempotencyKeys } from '../../control/access/idempotency.ts';
import { presentedToken } from './guard.ts';

export type IdempotencyPort = Pick<IdempotencyKeys, 'begin'>;

/** The header of every POST that is not idempotent by itself. */
export const idempotencyKey = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      pattern: '^[!-~]{1,255}$',
      description:
        'Makes repeating safe: for 24 hours the same key with the same request gets the first answer again, with the header ' +
        '`Idempotency-Replayed: true`. A UUID, say. Not kept for a dry run or a failure.',
    }),
  ),
});

/** What is sent, and sent again. */
export interface Answer<Body> {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
}

/** To be handed to the change that the request makes: called with its result, inside its transaction. */
type Alongside<Made> = (trx: Parameters<Claim['complete']>[0], made: Made) => Promise<void>;

export interface Operation<Made, Body> {
  /** Makes the change; where `alongside` is given, calls it in the transaction of the change. */
  readonly run: (alongside: Alongside<Made> | undefined) => Promise<Made>;
  readonly toAnswer: (made: Made) => Answer<Body>;
}

/** Carries the request out, or sends what the first one with its key was answered. Returns the body. */
export async function onceForKey<Made, Body>(
  keys: IdempotencyPort,
  request: FastifyRequest,
  reply: FastifyReply,
  operation: Operation<Made, Body>,
): Promise<Body> {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return send(reply, operation.toAnswer(await operation.run(undefined)));
  const begun = await keys.begin({ ...whoAsks(request), key: String(key), parts: partsOf(request) });
  if (begun.state === 'answered') {
    reply.header('idempotency-replayed', 'true');
    return send(reply, JSON.parse(begun.answer) as Answer<Body>);
  }
  const { claim } = begun;
  try {
    const made = await operation.run((trx, result) => claim.complete(trx, JSON.stringify(operation.toAnswer(result))));
    return send(reply, operation.toAnswer(made));
  } catch (error) {
    // Should this fail too, the claim ends by itself a minute later.
    await claim.release().catch((cause: unknown) => request.log.warn({ err: cause }, 'a claim was not released'));
    throw error;
  }
}

function send<Body>(reply: FastifyReply, { status, headers, body }: Answer<Body>): Body {
  reply.code(status).headers({ ...headers });
  return body;
}

function whoAsks(request: FastifyRequest): { readonly caller: string; readonly credential: string } {
  const credential = presentedToken(request.headers.authorization);
  if (request.caller === null || credential === undefined)
    throw new AppError('unauthenticated', 'An Idempotency-Key needs a caller.');
  return { caller: request.caller, credential };
}

function partsOf(request: FastifyRequest): readonly string[] {
  const path = request.url.split('?', 1)[0] ?? '';
  return [request.method, path, JSON.stringify(sorted(request.body)) ?? ''];
}

/** JSON does not order members: a retry may be spelt by another serialiser. Depth is bounded, since the body passed its schema. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members.map(([name, member]) => [name, sorted(member)]));
}

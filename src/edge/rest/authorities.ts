import { Type } from 'typebox';
import type { AuthorityStatus, Rotation } from '../../control/authority/rotation.ts';
import type { App } from './app.ts';
import { NO_ID, warnings } from './dry-run.ts';
import { closed, dryRun, id, oneOf, revision, time } from './schemas.ts';
import { toTime } from './time.ts';

const kind = oneOf(['x509', 'jwt', 'wit'] as const, { description: 'What it signs: roots, JWT-SVIDs, WIT-SVIDs.' });

const AuthorityOutput = Type.Object(
  {
    id,
    kind,
    state: oneOf(['prepared', 'active', 'old', 'tainted', 'revoked'] as const, {
      description: 'prepared → active → old (until all it signed has ended), or old → tainted → revoked.',
    }),
    name: Type.String({
      description: 'SHA-256 of the root certificate in hex, or `kid` of the key. Empty in a dry run.',
    }),
    upstream: Type.Boolean({ description: 'Whether it is the root of an upstream authority.' }),
    listener: Type.Boolean({
      description: 'Whether the control plane proves itself with this root: the one that newcomers pin.',
    }),
    notBefore: time,
    notAfter: Type.String({ format: 'date-time', description: 'When it ends. It is replaced before.' }),
    createdAt: time,
    since: Type.String({ format: 'date-time', description: 'When it got into its state.' }),
    bundleSequence: Type.Integer({ description: 'The first trust bundle that had it.' }),
    soon: Type.Boolean({ description: 'Whether it becomes active as soon as nobody is missing.' }),
    missing: Type.Array(Type.String(), {
      description: 'Of a prepared one: who is connected and has not acknowledged a bundle with it.',
    }),
    warnings,
  },
  closed,
);

const ofKind = Type.Object({ kind }, closed);
const ofWrite = Type.Object({ dryRun }, closed);
const params = Type.Object({ id }, closed);

const ofOne = {
  activate: 'From now on this authority signs. Refused while somebody who is connected could not verify it.',
  taint: 'It may be in wrong hands: everybody replaces what it has signed, and goes on trusting it until then.',
  revoke: 'Nobody trusts this authority from now on, and its key is deleted.',
} as const;

const ofAKind = {
  prepare: 'Make an authority that everybody can verify and that signs nothing yet.',
  rotate: 'Prepare an authority, unless one is, and activate it as soon as nobody is missing. Answers at once.',
} as const;

export type AuthoritiesPort = Pick<Rotation, 'list' | 'prepare' | 'rotate' | 'activate' | 'taint' | 'revoke'>;

/** GET /v1/authorities; POST /v1/authorities:prepare, :rotate; POST /v1/authorities/{id}:activate, :taint, :revoke */
export function authorities(
  app: App,
  deps: { readonly authorities: AuthoritiesPort; readonly revision: () => number },
): void {
  app.get(
    '/v1/authorities',
    {
      schema: {
        operationId: 'listAuthorities',
        summary: 'The roots and keys that are in the trust bundle, oldest first.',
        tags: ['trust'],
        querystring: Type.Object({}, closed),
        response: {
          200: Type.Object(
            {
              items: Type.Array(AuthorityOutput),
              nextCursor: Type.Null(),
              revision,
              bundleSequence: Type.Integer({ description: 'Grows with every change to the trust bundle.' }),
            },
            closed,
          ),
        },
      },
    },
    async () => {
      // Before what is listed, which is at least as new.
      const seen = deps.revision();
      const { items, sequence } = await deps.authorities.list();
      return {
        items: items.map((item) => toOutput(item)),
        nextCursor: null,
        revision: seen,
        bundleSequence: sequence,
      };
    },
  );

  for (const verb of ['prepare', 'rotate'] as const) {
    app.post(
      `/v1/authorities::${verb}`,
      {
        schema: {
          operationId: `${verb}Authority`,
          summary: ofAKind[verb],
          tags: ['trust'],
          querystring: ofWrite,
          body: ofKind,
          response: { 200: AuthorityOutput },
        },
      },
      async (request) => {
        const { dryRun: isDry } = request.query;
        const status = await deps.authorities[verb](request.body.kind, actor(request, isDry));
        return toOutput(status, isDry);
      },
    );
  }

  for (const verb of ['activate', 'taint', 'revoke'] as const) {
    app.post(
      `/v1/authorities/:id([^/:]+)::${verb}`,
      {
        schema: {
          operationId: `${verb}Authority`,
          summary: ofOne[verb],
          tags: ['trust'],
          params,
          querystring: ofWrite,
          response: { 200: AuthorityOutput },
        },
      },
      async (request) => {
        const { dryRun: isDry } = request.query;
        return toOutput(await deps.authorities[verb](request.params.id, actor(request, isDry)), isDry);
      },
    );
  }
}

function actor(request: { readonly caller: string | null; readonly ip: string }, isDry: boolean | undefined) {
  return { name: request.caller ?? '', source: request.ip, dryRun: isDry };
}

function toOutput(status: AuthorityStatus, isDry?: boolean) {
  return {
    // One that a dry run did not make has no id.
    id: status.name === '' ? NO_ID : status.id,
    kind: status.kind,
    state: status.state,
    name: status.name,
    upstream: status.upstream,
    listener: status.listener,
    notBefore: toTime(status.notBefore),
    notAfter: toTime(status.notAfter),
    createdAt: toTime(status.createdAt),
    since: toTime(status.since),
    bundleSequence: status.sequence,
    soon: status.soon,
    missing: [...status.missing],
    ...(isDry === true && { warnings: [] }),
  };
}

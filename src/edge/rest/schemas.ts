import type { TSchema } from 'typebox';
import { Type } from 'typebox';
import { errorCodes } from '../../base/errors.ts';

/** Shapes that several resources share. Unknown fields are refused everywhere. */
export const closed = { additionalProperties: false } as const;

export const DEFAULT_LIMIT = 50;
export const MAX_LIMIT = 500;

export const limit = Type.Optional(
  Type.Integer({ minimum: 1, maximum: MAX_LIMIT, default: DEFAULT_LIMIT, description: 'Most items in one answer.' }),
);
export const cursor = Type.Optional(
  // Without limits of its own: whatever is no cursor of ours is `invalid-cursor`.
  Type.String({ description: '`nextCursor` of the answer before, with the same filters. Good for 24 hours.' }),
);
export const dryRun = Type.Optional(
  Type.Boolean({ default: false, description: 'Check everything, change nothing, answer with what would be.' }),
);

/** Parsed by control, which names the position of what is wrong. */
export const labelSelector = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: 1024,
    description: 'Labels as Kubernetes selects them: `app=web,tier!=cache,owner,!legacy,stage in (test,live)`.',
  }),
);

/** A DNS label, as Kubernetes names namespaces. */
export const namespaceName = Type.String({
  pattern: '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$',
  description: 'Namespace: a DNS label.',
});
export const objectName = Type.String({
  pattern: '^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$',
  description: 'Name of the object: a DNS subdomain.',
});
export const id = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
  description: 'UUID, lower case.',
});
export const spiffeId = Type.String({ minLength: 1, maxLength: 2048, description: 'SPIFFE ID.' });
export const time = Type.String({ format: 'date-time', description: 'RFC 3339, UTC, milliseconds.' });
export const revision = Type.Integer({
  minimum: 0,
  description: 'Grows by one with every change to anything in the store.',
});

export function nullable<T extends TSchema>(schema: T) {
  return Type.Union([schema, Type.Null()]);
}

export function oneOf<T extends string>(
  values: readonly [T, ...T[]] | readonly T[],
  options: { description?: string } = {},
) {
  return Type.Unsafe<T>({ type: 'string', enum: [...values], ...options });
}

/** A 304 answer, and a 204 answer: no body, so nothing is sent, not even null, which would come with a Content-Type. */
export const unchanged = Type.Unsafe<undefined>({ type: 'null', description: 'What the caller has is current.' });
export const empty = Type.Unsafe<undefined>({ type: 'null', description: 'Done.' });

export const preconditions = Type.Object({
  'if-match': Type.Optional(
    Type.String({
      maxLength: 256,
      description: '`"<revision>"` as read, or `*` for whatever is there. Needed to replace or delete.',
    }),
  ),
});

export const Problem = Type.Object(
  {
    type: Type.String({
      description: '`/docs/errors#<code>`: what the code means; `about:blank` for what only HTTP knows.',
    }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'What went wrong, why, and how to mend it.' }),
    instance: Type.String(),
    code: oneOf(errorCodes),
    errors: Type.Optional(
      Type.Array(
        Type.Object(
          {
            code: Type.String(),
            detail: Type.String(),
            pointer: Type.Optional(Type.String({ description: 'RFC 6901, into the body or the query.' })),
            file: Type.Optional(Type.String()),
            line: Type.Optional(Type.Integer({ minimum: 1 })),
            column: Type.Optional(Type.Integer({ minimum: 1 })),
          },
          closed,
        ),
      ),
    ),
    requestId: Type.String(),
    retryAfter: Type.Optional(Type.Number({ description: 'Seconds.' })),
  },
  { ...closed, description: 'RFC 9457' },
);

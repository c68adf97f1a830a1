import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import { permissions, permissionsOf, roles } from '../../core/identity/roles.ts';
import type { App } from './app.ts';
import { closed, oneOf } from './schemas.ts';

/** GET /v1/whoami: who the token is, and what it may do. */
export function whoami(app: App): void {
  app.get(
    '/v1/whoami',
    {
      schema: {
        operationId: 'whoAmI',
        summary: 'Who presents this token, with which role, and what that may do.',
        tags: ['tokens'],
        querystring: Type.Object({}, closed),
        response: {
          200: Type.Object(
            {
              name: Type.String(),
              role: oneOf(roles),
              credential: Type.String({ description: 'Id of the token; `bootstrap` for that of the data directory.' }),
              permissions: Type.Array(oneOf(permissions)),
            },
            closed,
          ),
        },
      },
    },
    async ({ administrator }) => {
      if (administrator === null) throw new AppError('unauthenticated', 'Nobody has presented a token.');
      const { name, role, credential } = administrator;
      return { name, role, credential, permissions: [...permissionsOf(role)] };
    },
  );
}

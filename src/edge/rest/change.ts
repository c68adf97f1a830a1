import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';

/** What every change of a policy says about itself. Control checks the text: it goes to terminals and logs. */
export const reasonText = Type.String({
  minLength: 1,
  maxLength: 1024,
  description: 'Why, for the history: one line, such as a ticket.',
});

/** `?reason=`, of writes whose body is no JSON of ours. */
export const reason = Type.Optional(reasonText);

/** Who makes a change. */
export function authorOf(request: { readonly caller: string | null }): string {
  if (request.caller === null) throw new AppError('unauthenticated', 'A change needs an author.');
  return request.caller;
}

export function ifMatchRequired(): AppError {
  return new AppError(
    'precondition-required',
    'This needs the header If-Match with the revision that you read (its ETag), or *.',
  );
}

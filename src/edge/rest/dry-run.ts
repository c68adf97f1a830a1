import { Type } from 'typebox';
import { closed } from './schemas.ts';

/** Stands for the id that something would get. */
export const NO_ID = '00000000-0000-0000-0000-000000000000';

export const Warning = Type.Object({ code: Type.String(), detail: Type.String() }, closed);

export interface Warning {
  readonly code: string;
  readonly detail: string;
}

/** A field of every answer to a dry run, and of no other. */
export const warnings = Type.Optional(
  Type.Array(Warning, { description: 'Only in answers to a dry run: what to know before it is done.' }),
);

/** Of a dry run that replaces: revision 0 stands for a new one, any other is the one that would stay. */
export function warningsOfReplacing(revision: number): Warning[] {
  if (revision === 0) return [];
  return [{ code: 'unchanged', detail: 'It is like this already: nothing would change.' }];
}

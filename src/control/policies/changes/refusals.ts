import { AppError } from '../../../base/errors.ts';
import type { ChangeState } from '../../../core/policy/change.ts';

export function noChange(revision: number): AppError {
  return new AppError('not-found', `There is no policy change ${revision}. List what there is: writ policy changes`);
}

export function wrongState(revision: number, state: ChangeState, wanted: string): AppError {
  const mend =
    state === 'proposed' || state === 'approved' || state === 'rolling'
      ? `Look at it: writ policy changes ${revision}`
      : 'It is over; propose it again.';
  return new AppError('conflict', `The policy change ${revision} is ${state}, so it cannot be ${wanted}. ${mend}`);
}

export function approvalRequired(namespaces: readonly string[], change?: number): AppError {
  const where = namespaces.length === 1 ? `the namespace ${namespaces[0]}` : `the namespaces ${namespaces.join(', ')}`;
  const mend =
    change === undefined
      ? 'Propose it (writ apply -f FILE --propose), and ask somebody else to approve it (writ policy approve).'
      : `Ask somebody else to approve it: writ policy approve ${change}`;
  return new AppError('approval-required', `Changes of policies in ${where} need a second person. ${mend}`);
}

export function planRequired(namespaces: readonly string[]): AppError {
  const where = namespaces.length === 1 ? `the namespace ${namespaces[0]}` : `the namespaces ${namespaces.join(', ')}`;
  return new AppError(
    'plan-required',
    `Changes of policies in ${where} need a plan of exactly this change against the policies as they are now. Make it ` +
      '(writ policy plan -f FILE), look at it, and repeat your change.',
  );
}

export function sameAuthor(revision: number, author: string): AppError {
  return new AppError(
    'forbidden',
    `${author} proposed the policy change ${revision}, so somebody else must approve it: four eyes see more than two.`,
  );
}

export function anotherRolls(revision: number): AppError {
  return new AppError(
    'conflict',
    `The policy change ${revision} is being rolled out, and only one can be: what it does could not be told apart. Wait ` +
      `until it is over, or stop it: writ policy abort ${revision}`,
  );
}

export function changedMeanwhile(revision: number): AppError {
  return new AppError('conflict', `Somebody else has just changed the policy change ${revision}. Look at it again.`);
}

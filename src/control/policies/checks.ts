import { AppError } from '../../base/errors.ts';
import type { PolicyKey, PolicyObject } from '../../core/policy/kinds.ts';
import { keyOf, keyText, policyKinds, titleOf } from '../../core/policy/kinds.ts';

/** What a change of an object must say, and what it must find. */

const MAX_AUTHOR_CHARACTERS = 256;
const MAX_REASON_CHARACTERS = 1024;

/** Throws `invalid`. @param wanted what the address says, as far as it does. */
export function checkNames(wanted: Partial<PolicyKey>, object: PolicyObject): void {
  const key = keyOf(object);
  const expected = {
    kind: wanted.kind ?? key.kind,
    namespace: wanted.namespace ?? key.namespace,
    name: wanted.name ?? key.name,
  };
  if (keyText(expected) === keyText(key)) return;
  throw new AppError(
    'invalid',
    `The document is the ${titleOf(key)}, not the ${titleOf(expected)}. Make its kind, its metadata and the address agree.`,
  );
}

/** Throws `invalid`. */
export function checkAuthor(author: string): string {
  if (author !== '' && author.length <= MAX_AUTHOR_CHARACTERS) return author;
  throw new AppError('invalid', `The author must have 1 to ${MAX_AUTHOR_CHARACTERS} characters.`);
}

/** Throws `invalid` for what is too long, or could rewrite what a terminal or a log shows. */
export function checkReason(reason: string | undefined): string | undefined {
  if (reason === undefined) return undefined;
  if (reason.trim() !== '' && reason.length <= MAX_REASON_CHARACTERS && !/\p{Cc}/u.test(reason)) return reason;
  throw new AppError(
    'invalid',
    `The reason must have 1 to ${MAX_REASON_CHARACTERS} characters, on one line and without control characters.`,
  );
}

/** What is there before a change. */
export interface Before {
  readonly revision: number;
  readonly source: string;
}

export interface PutConditions {
  /** The revision that it replaces, or `*` for whichever is there. Needed when the object exists. */
  readonly ifMatch?: number | '*' | undefined;
  /** Only if it does not exist yet. */
  readonly ifNoneMatch?: boolean | undefined;
}

/** An explicit condition is always checked; the duty to state one does not apply to a put that would change nothing. */
export function checkPut(conditions: PutConditions, key: PolicyKey, source: string, before: Before | undefined): void {
  const { ifMatch, ifNoneMatch } = conditions;
  if (before === undefined) {
    if (ifMatch === undefined) return;
    throw new AppError('precondition-failed', `There is no ${titleOf(key)} to replace.`);
  }
  if (ifNoneMatch === true) {
    throw new AppError('precondition-failed', `The ${titleOf(key)} exists already, at revision ${before.revision}.`);
  }
  if (ifMatch === undefined) {
    if (before.source === source) return;
    throw new AppError(
      'precondition-required',
      `The ${titleOf(key)} exists. Say which revision you replace (it is at ${before.revision}), so that nobody's ` +
        'change is lost.',
    );
  }
  checkMatch(ifMatch, key, before);
}

/** Throws `precondition-failed`. */
export function checkMatch(ifMatch: number | '*', key: PolicyKey, before: Pick<Before, 'revision'>): void {
  if (ifMatch === '*' || ifMatch === before.revision) return;
  throw new AppError(
    'precondition-failed',
    `The ${titleOf(key)} is at revision ${before.revision}, not ${ifMatch}: somebody changed it. ` +
      'Read it again and repeat your change.',
  );
}

/** Of a write that was decided on earlier: what it is about must be as it was then; null: not there. */
export function checkReplaces(
  replaces: number | null,
  key: PolicyKey,
  before: Pick<Before, 'revision'> | undefined,
): void {
  if ((before?.revision ?? null) === replaces) return;
  const now = before === undefined ? 'does not exist' : `is at revision ${before.revision}`;
  const then = replaces === null ? 'did not exist' : `was at revision ${replaces}`;
  throw new AppError(
    'precondition-failed',
    `The ${titleOf(key)} ${now}; it ${then} when this was proposed. Look at what it is now, and propose it again.`,
  );
}

/** Of a roll-back: the newest revision must be the one that its author has seen. */
export function checkLatest(ifMatch: number | '*', key: PolicyKey, latest: number): void {
  if (ifMatch === '*' || ifMatch === latest) return;
  throw new AppError(
    'precondition-failed',
    `The newest revision of the ${titleOf(key)} is ${latest}, not ${ifMatch}: somebody changed it. ` +
      'Look at its history again and repeat your change.',
  );
}

export function wasDeletion(key: PolicyKey, revision: number): AppError {
  return new AppError(
    'invalid',
    `Revision ${revision} is the deletion of the ${titleOf(key)}, so it has no content to go back to. Delete the ` +
      `${policyKinds[key.kind].noun} instead, or choose an earlier revision.`,
  );
}

export function noRevision(key: PolicyKey, revision: number): AppError {
  return new AppError(
    'not-found',
    `The ${titleOf(key)} has no revision ${revision}. Its revisions: writ policy history ${referenceOf(key)}`,
  );
}

export function notFound(key: PolicyKey): AppError {
  return new AppError('not-found', `There is no ${titleOf(key)}.`);
}

/** As the command line names it; the kind goes without saying for a policy. */
function referenceOf({ kind, namespace, name }: PolicyKey): string {
  return `${kind === 'AuthorizationPolicy' ? '' : `${policyKinds[kind].singular}/`}${namespace}/${name}`;
}

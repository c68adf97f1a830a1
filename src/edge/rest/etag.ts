import { AppError } from '../../base/errors.ts';

/** RFC 9110 §13: entity tags are strong and are revisions in quotes. */
export function toEtag(revision: number): string {
  return `"${revision}"`;
}

/** `If-Match` of a write: a revision, `*`, or nothing. Throws `invalid` for what cannot be read, `precondition-failed` for a tag that we never gave. */
export function readIfMatch(header: string | undefined): number | '*' | undefined {
  if (header === undefined) return undefined;
  const tags = readTags(header, 'If-Match');
  if (tags === '*') return '*';
  const [tag, ...others] = tags;
  if (tag === undefined || others.length > 0)
    throw new AppError('invalid', 'If-Match must name exactly one revision, or be *.');
  const revision = /^"([1-9][0-9]{0,15})"$/.exec(tag)?.[1];
  // Also a weak tag: If-Match compares strongly (RFC 9110 §13.1.1).
  if (revision === undefined)
    throw new AppError(
      'precondition-failed',
      `If-Match names ${tag}, which is no revision of this object. Read it again and repeat the change.`,
    );
  return Number(revision);
}

/** `If-None-Match` of a write: only `*`, which means create, never replace. */
export function readCreateOnly(header: string | undefined): boolean {
  if (header === undefined) return false;
  if (readTags(header, 'If-None-Match') === '*') return true;
  throw new AppError('invalid', 'If-None-Match on a write must be * (create, never replace).');
}

/** `If-None-Match` of a read: whether the caller has this revision already. */
export function isUnchanged(header: string | undefined, revision: number): boolean {
  if (header === undefined) return false;
  const tags = readTags(header, 'If-None-Match');
  return tags === '*' || tags.some((tag) => tag.replace(/^W\//, '') === toEtag(revision));
}

function readTags(header: string, name: string): '*' | string[] {
  const text = header.trim();
  if (text === '*') return '*';
  const tags = text.split(',').map((tag) => tag.trim());
  if (!tags.every((tag) => /^(W\/)?"[\x21\x23-\x7e]*"$/.test(tag)))
    throw new AppError('invalid', `${name} must be * or an ETag in double quotes, such as "42".`);
  return tags;
}

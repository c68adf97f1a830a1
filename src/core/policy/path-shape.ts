/**
 * A path with `{*}` for every segment that looks like an id: a number, a UUID, or a long text with a digit in it. For counting
 * calls by what they do; whether two paths mean the same only their application knows.
 */
export function pathShape(path: string): string {
  // Most paths have no digit, and so no id.
  if (!digit.test(path)) return path;
  return path
    .split('/')
    .map((segment) => (isId(segment) ? '{*}' : segment))
    .join('/');
}

const digit = /[0-9]/;
const number = /^[0-9]+$/;
const hex = /^[0-9a-fA-F-]{8,}$/;
const long = /^[A-Za-z0-9_.~:-]{20,}$/;

function isId(segment: string): boolean {
  return digit.test(segment) && (number.test(segment) || hex.test(segment) || long.test(segment));
}

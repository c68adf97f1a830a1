/**
 * Istio's path templates (reference: rule 21): `{*}` stands for exactly one segment that is not empty, `{**}` for any text,
 * slashes included, and is the last of them. Both are whole segments: `/store/{*}/cart/{**}`.
 *
 * `/a/{**}` matches `/a/` and all below, not `/a` itself. Unlike Envoy's expression, `{*}` and `{**}` also take segments that
 * hold a `*`: otherwise a DENY could be walked around with one.
 *
 * Nothing is compiled to a regular expression, so that no text of a policy or request can make matching slow.
 */

const ONE = '{*}';
const ANY = '{**}';

/** RFC 3986 `pchar`, as Envoy takes literals in templates. */
const literalForm = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$/;

export function isTemplate(path: string): boolean {
  return path.includes(ONE) || path.includes(ANY);
}

/** Why a text that `isTemplate` is not a good one; for people. */
export function whyNoTemplate(template: string): string | undefined {
  if (!template.startsWith('/')) return 'it does not begin with "/"';
  let any = false;
  const segments = template.slice(1).split('/');
  for (const [index, segment] of segments.entries()) {
    if (segment === ONE || segment === ANY) {
      if (any) return `"${segment}" comes after "{**}", which must be the last`;
      any = segment === ANY;
      continue;
    }
    if (/[{}]/.test(segment)) return '"{*}" and "{**}" must be whole segments';
    if (segment.includes('*')) return 'a template has no other wildcards than "{*}" and "{**}"';
    // A slash at the end is a slash at the end.
    if (segment === '' && index === segments.length - 1) continue;
    if (!literalForm.test(segment)) return 'a segment is empty or holds a character that must be escaped';
  }
  return undefined;
}

/** What every path that matches begins with. */
export function templatePrefix(template: string): string {
  return template.slice(0, template.indexOf('{'));
}

/** @param template One in which `whyNoTemplate` finds nothing wrong. */
export function matchesTemplate(template: string, path: string): boolean {
  const any = template.indexOf(ANY);
  const head = any === -1 ? template : template.slice(0, any);
  let at = 0;
  let position = 0;
  for (;;) {
    const one = head.indexOf(ONE, position);
    const literal = head.slice(position, one === -1 ? head.length : one);
    if (!path.startsWith(literal, at)) return false;
    at += literal.length;
    if (one === -1) break;
    const end = path.indexOf('/', at);
    const stop = end === -1 ? path.length : end;
    if (stop === at) return false;
    at = stop;
    position = one + ONE.length;
  }
  if (any === -1) return at === path.length;
  const tail = template.slice(any + ANY.length);
  return path.length - tail.length >= at && path.endsWith(tail);
}

/** The parameters of a request target's query, changed. All of it is attacker-controlled. */

/** Takes parameters out, however their names are spelled (`%61` is `a`), then puts others at the end. */
export function changedQuery(
  target: string,
  o: { readonly remove?: readonly string[]; readonly set?: readonly (readonly [name: string, value: string])[] },
): string {
  const { remove = [], set = [] } = o;
  if (remove.length + set.length === 0) return target;
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  const query = mark === -1 ? '' : target.slice(mark + 1);
  const gone = new Set([...remove, ...set.map(([name]) => name)]);
  const stays = query.split('&').filter((part) => part !== '' && !gone.has(nameOf(part)));
  const added = set.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  const all = [...stays, ...added];
  return all.length === 0 ? path : `${path}?${all.join('&')}`;
}

function nameOf(part: string): string {
  const [written = ''] = part.split('=', 1);
  try {
    return decodeURIComponent(written.replaceAll('+', ' '));
  } catch {
    return written;
  }
}

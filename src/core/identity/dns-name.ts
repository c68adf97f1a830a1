/** DNS names that a certificate may hold beside its SPIFFE ID, for peers that look at nothing else. */
export const MAX_DNS_NAMES = 16;

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * What is wrong with a DNS name; undefined for one that is right: lower-case ASCII, at most 253 characters, labels of RFC 1123,
 * A-labels that really are such (RFC 5890 §2.3.2.1), one wildcard at most and only as the whole first label above two others
 * (RFC 6125 §6.4.3), and no IPv4 address.
 *
 * @returns reads on after the name: 'must …'
 */
export function problemOfDnsName(name: string): string | undefined {
  if (name.length > 253) return 'must be at most 253 characters long';
  const labels = name.split('.');
  const isWildcard = labels[0] === '*';
  const rest = isWildcard ? labels.slice(1) : labels;
  if (rest.some((one) => one.includes('*')))
    return 'must have a wildcard only as its whole first label, as in *.example.org';
  if (isWildcard && rest.length < 2) return 'must have at least two labels behind its wildcard';
  if (!rest.every((one) => label.test(one))) {
    return 'must have labels of at most 63 lower-case letters, digits and inner dashes (write other scripts as xn--…)';
  }
  if (/^\d+$/.test(rest.at(-1) ?? '')) return 'must not end in a number, as addresses do';
  if (!rest.every(isPlainOrALabel)) return 'must have no label with dashes in third and fourth place but a valid xn--…';
  return undefined;
}

/** One wildcard name and one that it covers, where there are two such: who verifies could not tell which was meant. */
export function overlapOf(names: readonly string[]): readonly [wildcard: string, covered: string] | undefined {
  const all = new Set(names);
  for (const name of names) {
    if (name.startsWith('*.')) continue;
    const wildcard = `*${name.slice(name.indexOf('.'))}`;
    if (name.includes('.') && all.has(wildcard)) return [wildcard, name];
  }
  return undefined;
}

/**
 * RFC 5891 §4.2.3.1. `URL` knows IDNA: it refuses an A-label that is none, and maps one that is not in its only form. A name
 * that is all ASCII it hardly looks at, hence the other label.
 */
function isPlainOrALabel(text: string): boolean {
  if (text.slice(2, 4) !== '--') return true;
  if (!text.startsWith('xn--')) return false;
  try {
    return new URL(`http://ü.${text}.example/`).hostname === `xn--tda.${text}.example`;
  } catch {
    return false;
  }
}

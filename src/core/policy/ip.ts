/**
 * IP addresses and blocks as bit strings, so that "is in this block" is "begins with these bits". An IPv4 address that is
 * written as an IPv6 one (`::ffff:10.0.0.1`), as dual-stack sockets do, is the IPv4 address.
 */

/** `4` or `6`, then 32 or 128 times `0` or `1`; undefined for what is not an address. Zones (`%eth0`) are not part of one. */
export function addressBits(text: string): string | undefined {
  const bytes = text.includes(':') ? parseV6(text) : parseV4(text);
  if (bytes === undefined) return undefined;
  const mapped =
    bytes.length === 16 && bytes.slice(0, 10).every((b) => b === 0) && bytes[10] === 255 && bytes[11] === 255;
  const own = mapped ? bytes.slice(12) : bytes;
  return (own.length === 4 ? '4' : '6') + own.map((byte) => byte.toString(2).padStart(8, '0')).join('');
}

/** What every address in a block begins with: `10.1.0.0/16`, or one address. Undefined for anything else. */
export function blockBits(text: string): string | undefined {
  const slash = text.indexOf('/');
  if (slash === -1) return addressBits(text);
  const address = text.slice(0, slash);
  const bits = addressBits(address);
  const digits = text.slice(slash + 1);
  if (bits === undefined || !/^(0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  const length = Number(digits);
  if (address.includes(':') && bits.startsWith('4')) {
    // A block of mapped addresses; one that is wider than all of IPv4 is of neither kind.
    return length >= 96 && length <= 128 ? bits.slice(0, 1 + length - 96) : undefined;
  }
  return length <= bits.length - 1 ? bits.slice(0, 1 + length) : undefined;
}

function parseV4(text: string): number[] | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  // No leading zeros: to some they mean octal.
  if (!parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return parts.map(Number);
}

function parseV6(text: string): number[] | undefined {
  if (text.length > 45) return undefined;
  const gap = text.indexOf('::');
  if (gap !== text.lastIndexOf('::')) return undefined;
  if (gap === -1) return groups(text, 16);
  const head = groups(text.slice(0, gap), undefined);
  const tail = groups(text.slice(gap + 2), undefined, true);
  if (head === undefined || tail === undefined || head.length + tail.length > 14) return undefined;
  return [...head, ...new Array<number>(16 - head.length - tail.length).fill(0), ...tail];
}

/** @param last Whether the text may end in an IPv4 address. */
function groups(text: string, length: number | undefined, last = length !== undefined): number[] | undefined {
  if (text === '') return length === undefined ? [] : undefined;
  const bytes: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (last && index === parts.length - 1 && part.includes('.')) {
      const v4 = parseV4(part);
      if (v4 === undefined) return undefined;
      bytes.push(...v4);
    } else {
      if (!/^[0-9A-Fa-f]{1,4}$/.test(part)) return undefined;
      const value = Number.parseInt(part, 16);
      bytes.push(value >> 8, value & 255);
    }
  }
  return length === undefined || bytes.length === length ? bytes : undefined;
}

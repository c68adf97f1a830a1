import { isIPv4, isIPv6 } from 'node:net';

/**
 * What counts as one source when callers without an identity are limited: an IPv4 address, or the /64 of an IPv6 address,
 * since whoever has one address of a /64 commonly has all of them.
 *
 * @param peer as the gRPC library writes it: address, colon, port
 */
export function sourceOf(peer: string): string {
  const address = peer.replace(/:\d+$/, '').replace(/%.*$/, '');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined && isIPv4(mapped)) return mapped;
  return isIPv6(address) ? `${firstGroups(address)}::/64` : address;
}

function firstGroups(address: string): string {
  const [head = '', tail] = address.toLowerCase().split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array<string>(zeros).fill('0'), ...after];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}

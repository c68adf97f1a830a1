import type { LookupAddress, LookupOptions } from 'node:dns';
import { lookup } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import { AppError } from '../../base/errors.ts';

/** Which addresses the control plane connects to because a document names them. */
export interface AddressRules {
  /** Whether this machine may be asked. Default false. */
  readonly allowLoopback?: boolean;
}

/**
 * Addresses that nobody publishes keys at, and behind which there is much that trusts whoever reaches it: link-local ones
 * above all, where clouds hand out credentials to the machine that asks.
 */
const never = new BlockList();
never.addSubnet('0.0.0.0', 8);
never.addSubnet('169.254.0.0', 16);
never.addSubnet('224.0.0.0', 3);
never.addAddress('::', 'ipv6');
never.addSubnet('fe80::', 10, 'ipv6');
never.addSubnet('ff00::', 8, 'ipv6');
// Metadata of one cloud over IPv6.
never.addAddress('fd00:ec2::254', 'ipv6');

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

/** Whether an address may be asked. Those of private networks may: many issuers are inside of the house. */
export function isAllowedAddress(address: string, { allowLoopback = false }: AddressRules): boolean {
  const plain = unmapped(address);
  const family = isIP(plain) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(plain) === 0 || never.check(plain, family)) return false;
  return allowLoopback || !loopback.check(plain, family);
}

/**
 * For `lookup` of a connection: what a name resolves to is looked at where it is used, so that a name which is answered
 * differently the second time (DNS rebinding) gains nothing. Fails with `forbidden` when no address is left.
 */
export function guardedLookup(rules: AddressRules) {
  return (
    hostname: string,
    options: LookupOptions,
    callback: (error: Error | null, address: string | LookupAddress[], family?: number) => void,
  ): void => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '');
      const allowed = addresses.filter(({ address }) => isAllowedAddress(address, rules));
      const [first] = allowed;
      if (first === undefined) return callback(notAllowed(), '');
      if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

export function notAllowed(): AppError {
  return new AppError(
    'forbidden',
    'The keys are at an address that the control plane does not ask: one of this machine, or one that is never routed.',
  );
}

/** `::ffff:127.0.0.1` is 127.0.0.1. */
function unmapped(address: string): string {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address.split('%', 1)[0] ?? '';
}

import type { KeyObject } from 'node:crypto';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';

/** The X.509-SVID of this process, with its key. Frozen; a renewal is a new value. */
export interface Svid {
  readonly id: SpiffeId;
  /** Which enrolled instance this is; it survives renewal. */
  readonly instanceId: string;
  /** DER, leaf first, without the root. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

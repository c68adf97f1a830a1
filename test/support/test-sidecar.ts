import type { KeyObject } from 'node:crypto';
import { generateKeyPairSync, sign } from 'node:crypto';
import type { KeyMeta } from '../../src/control/ledger/record.ts';
import { batchKeyStatement, rawBatchKey } from '../../src/core/audit/batch.ts';
import { batchHash } from '../../src/core/audit/batch-header.ts';
import type { ShippingIdentity } from './audit.ts';

/** What a sidecar knows of its own batches. */
export interface TestSidecar {
  readonly who: ShippingIdentity;
  readonly batchKey: KeyObject;
  readonly keyMeta: KeyMeta;
  /** Where its next batch stands. */
  place(count: number): {
    readonly instanceId: string;
    readonly epoch: number;
    readonly firstSeq: number;
    readonly prevHash: Buffer;
  };
  sent(header: Buffer, count: number): void;
}

export function testSidecar(who: ShippingIdentity): TestSidecar {
  const batchKey = generateKeyPairSync('ed25519').privateKey;
  const raw = rawBatchKey(batchKey);
  const signature = sign('sha256', batchKeyStatement(who.instanceId, raw), who.svid.privateKey);
  let firstSeq = 1;
  let prevHash: Buffer = Buffer.alloc(0);
  return {
    who,
    batchKey,
    keyMeta: {
      instanceId: who.instanceId,
      spiffeId: who.caller.spiffeId,
      batchKey: raw.toString('hex'),
      signature: signature.toString('base64'),
      certificate: who.caller.certificate.toString('base64'),
      receivedAt: 0,
    },
    place: () => ({ instanceId: who.instanceId, epoch: 1, firstSeq, prevHash }),
    sent(header, count) {
      firstSeq += count;
      prevHash = batchHash(header);
    },
  };
}

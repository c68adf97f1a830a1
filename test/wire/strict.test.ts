import { describe, expect, it } from 'vitest';
import type { ShipNack } from '../../src/core/audit/ship.ts';
import type { Policy } from '../../src/core/policy/model.ts';
import { toShipResponse } from '../../src/wire/audit.ts';
import {
  auditService,
  enrollmentService,
  healthService,
  policyService,
  snapshotContentCodec,
} from '../../src/wire/loader.ts';
import { encodeSnapshotContent } from '../../src/wire/policy.ts';
import { expectAppError } from '../support/errors.ts';

/** What the types forbid but running code might do. */
const loose = (value: object) => value as never;

describe('encoding', () => {
  it('refuses an enum value that is misspelt, at any depth', async () => {
    const misspelt = loose({ policies: [{ namespace: 'a', action: 'POLICY_ACTION_DENYY' }] });
    await expectAppError(
      () => snapshotContentCodec.encode(misspelt),
      'internal',
      /policies\.action has no value "POLICY_ACTION_DENYY"/,
    );
    await expectAppError(() => healthService.Check.responseSerialize(loose({ status: 'UP' })), 'internal', /status/);
    await expectAppError(() => auditService.Ship.responseSerialize(loose({ nack: { code: 99 } })), 'internal', /code/);
  });

  it('refuses a key that the message does not have, at any depth', async () => {
    await expectAppError(
      () => snapshotContentCodec.encode(loose({ policies: [{ rules: [{ from: [{ principal: [] }] }] }] })),
      'internal',
      /policies\.rules\.from has no field "principal"/,
    );
    await expectAppError(() => policyService.Watch.requestSerialize(loose({ acc: {} })), 'internal', /"acc"/);
    await expectAppError(
      () => policyService.Watch.responseSerialize(loose({ publishedAt: { secs: 1 } })),
      'internal',
      /publishedAt has no field "secs"/,
    );
    // Names as in the .proto file are not those of the loaded types.
    await expectAppError(() => policyService.Watch.responseSerialize(loose({ published_at: {} })), 'internal');
  });

  it('refuses a value where a list, map or message belongs', async () => {
    await expectAppError(() => snapshotContentCodec.encode(loose({ policies: {} })), 'internal', /not a list/);
    await expectAppError(
      () => snapshotContentCodec.encode(loose({ policies: ['ALLOW'] })),
      'internal',
      /not a message/,
    );
    await expectAppError(
      () => enrollmentService.Attest.responseSerialize(loose({ result: { entry: { labels: 'app' } } })),
      'internal',
      /not a map/,
    );
  });

  it('refuses a core value whose enum has no counterpart', async () => {
    const policy = { namespace: 'a', name: 'b', revision: 1, selector: {}, action: 'DENYY', rules: [] };
    const bundle = { trustDomain: 'a', roots: [], jwks: { keys: [] }, sequence: 0 };
    await expectAppError(
      () => encodeSnapshotContent({ policies: [policy as unknown as Policy], services: [], bundle }),
      'internal',
      /DENYY/,
    );
    const nack = { code: 'toString', expectedEpoch: 0, expectedSeq: 0, expectedPrevHash: Buffer.alloc(0), message: '' };
    await expectAppError(() => toShipResponse({ nack: nack as unknown as ShipNack }), 'internal', /toString/);
  });

  it('passes bytes that are encoded already', () => {
    const bytes = Buffer.from('0801', 'hex');
    expect(policyService.Watch.responseSerialize(loose(bytes))).toBe(bytes);
  });
});

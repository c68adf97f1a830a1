import { expect, test } from 'vitest';
import { overlaid, overlayOf } from '../../../../src/control/policies/changes/overlay.ts';
import { peerModesFor } from '../../../../src/core/policy/peer-modes.ts';
import { documentOf, policySet } from '../../../support/policies.ts';

test('a peer authentication that a change writes again is as old as it was: which of several counts stays the same', () => {
  const of = (name: string, revision: number, mode: 'STRICT' | 'PERMISSIVE') => ({
    ...{ namespace: 'shop', name, revision, selector: { app: 'a' }, mode, ports: new Map() },
  });
  const set = policySet({ peerAuthentications: [of('first', 1, 'STRICT'), of('second', 2, 'PERMISSIVE')] });
  const document = (name: string, revision: number) => ({
    ...({ operation: 'put', kind: 'PeerAuthentication', namespace: 'shop', name, revision, replaces: null } as const),
    source: documentOf('PeerAuthentication', name),
  });
  const after = overlaid(set, overlayOf([document('first', 8), document('third', 9)], undefined), 10);
  expect(after.peerAuthentications.map(({ name, revision, made }) => [name, revision, made])).toEqual([
    ['first', 8, 1],
    ['second', 2, undefined],
    ['third', 9, undefined],
  ]);
  expect(peerModesFor({ namespace: 'shop', labels: { app: 'a' } }, after.peerAuthentications, 'root').mode).toBe(
    'STRICT',
  );
});

import { expect, it } from 'vitest';
import { WatchSource } from '../../../../src/base/watch.ts';
import { overlayOf } from '../../../../src/control/policies/changes/overlay.ts';
import type { Stage } from '../../../../src/control/policies/changes/stages.ts';
import { WithCandidate } from '../../../../src/control/policies/changes/with-candidate.ts';
import type { PolicySet } from '../../../../src/control/policies/current.ts';

const kind = 'RequestAuthentication' as const;

function source(name: string): string {
  return `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ${name}, namespace: shop}
spec:
  jwtRules:
    - issuer: https://${name}.example
      jwksUri: https://${name}.example/keys
`;
}

it('the keys of issuers are wanted that a change brings along, from its first step on', () => {
  const nothing = { policies: [], requestAuthentications: [], peerAuthentications: [], rateLimits: [] };
  const policies = new WatchSource<PolicySet>({ revision: 1, ...nothing });
  const stage = new WatchSource<Stage | undefined>(undefined);
  const wanted = new WithCandidate(policies, { current: stage });
  const issuers = () =>
    wanted.current.current.requestAuthentications.flatMap(({ rules }) => rules.map((rule) => rule.issuer));
  expect(issuers()).toEqual([]);
  const document = { kind, namespace: 'shop', name: 'users', operation: 'put', replaces: null, revision: 7 } as const;
  const overlay = overlayOf([{ ...document, source: source('users') }], undefined);
  stage.set({ overlay } as Stage);
  expect(issuers()).toEqual(['https://users.example']);
  stage.set(undefined);
  expect(issuers()).toEqual([]);
  wanted.close();
});

import { describe, expect, it } from 'vitest';
import { compile } from '../../../../src/core/policy/compile.ts';
import type { Policy, Request } from '../../../../src/core/policy/model.ts';
import { parsePolicies } from '../../../../src/core/policy/parse.ts';
import { refusalNow } from '../../../../src/node/sidecar/checks/again.ts';
import type { PolicyState } from '../../../../src/node/sidecar/policy-state.ts';

const now = Date.UTC(2026, 0, 1);
const request: Request = {
  source: 'spiffe://example.org/ns/shop/sa/web',
  port: 8080,
  time: now - 60_000,
  http: { method: 'GET', path: '/feed', host: 'orders' },
};
const facts = { request, fields: ['X-Team', 'blue'], agreed: [] };

function policy(spec: string): Policy {
  const [document] = parsePolicies(
    `apiVersion: writ.dev/v1\nkind: AuthorizationPolicy\nmetadata: { name: p, namespace: shop }\nspec: { ${spec} }\n`,
  );
  if (document === undefined) throw new Error('no policy');
  return document.policy;
}

function state(...policies: readonly Policy[]): PolicyState {
  return { revision: 2, compiled: compile(policies, 2) } as unknown as PolicyState;
}

describe('an open call that is decided again', () => {
  it('goes on while it would be let in', () => {
    expect(refusalNow(facts, state(policy('rules: [{}]')), now)).toBeUndefined();
  });

  it('does not without a policy, and not when none allows it', () => {
    expect(refusalNow(facts, undefined, now)).toEqual({ reason: 'no-policy', rule: 'default-deny' });
    expect(refusalNow(facts, state(), now)).toEqual({ reason: 'default-deny', rule: 'default-deny' });
  });

  it('is decided at the time that it is, not at that of its beginning', () => {
    const ended = policy(`rules: [{}], validity: { notAfter: "${new Date(now - 1).toISOString()}" }`);
    expect(refusalNow(facts, state(ended), now)).toMatchObject({ reason: 'default-deny' });
    const begun = policy(`rules: [{}], validity: { notBefore: "${new Date(now - 1).toISOString()}" }`);
    expect(refusalNow(facts, state(begun), now)).toBeUndefined();
  });

  it('shows rules the fields that only they ask for', () => {
    const team = (name: string) => policy(`rules: [{ when: [{ key: "request.headers[x-team]", values: [${name}] }] }]`);
    expect(refusalNow(facts, state(team('blue')), now)).toBeUndefined();
    expect(refusalNow(facts, state(team('red')), now)).toMatchObject({ reason: 'default-deny' });
  });

  it('is not asked about again where the authorizer agreed, and ends where another one would have to', () => {
    const custom: Policy = { ...policy('rules: [{}]'), name: 'ask', action: 'CUSTOM', provider: 'opa' };
    const both = state(policy('rules: [{}]'), custom);
    const agreed = [{ provider: 'opa', rule: 'shop/ask@1#0' }];
    expect(refusalNow({ ...facts, agreed }, both, now)).toBeUndefined();
    expect(refusalNow(facts, both, now)).toEqual({ reason: 'custom-rule', rule: 'shop/ask@0#0' });
    const other = [{ provider: 'another', rule: 'shop/ask@1#0' }];
    expect(refusalNow({ ...facts, agreed: other }, both, now)).toMatchObject({ reason: 'custom-rule' });
  });

  it('in plain text ends when plain text is no longer let in', () => {
    const plain = { ...facts, request: { ...request, source: '', plaintext: true as const } };
    const open = state(policy('rules: [{}]'));
    const peerModes = { mode: 'PERMISSIVE', ports: new Map() } as const;
    const permissive: PolicyState = { ...open, peerModes };
    expect(refusalNow(plain, permissive, now)).toBeUndefined();
    expect(refusalNow(plain, open, now)).toMatchObject({ reason: 'plaintext-refused' });
  });
});

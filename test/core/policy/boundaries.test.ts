import { describe, expect, it } from 'vitest';
import { boundariesOf } from '../../../src/core/policy/boundaries.ts';
import type { Policy } from '../../../src/core/policy/model.ts';

function policy(o: Partial<Policy>): Policy {
  return { namespace: 'shop', name: 'p', revision: 1, selector: {}, action: 'ALLOW', rules: [], ...o };
}

describe('boundaries', () => {
  it('are the beginnings and ends of validities, each once, ascending', () => {
    const first = policy({ validity: { notBefore: 30, notAfter: 100 } });
    const second = policy({ action: 'DENY', validity: { notAfter: 30 } });
    expect(boundariesOf([first, second, policy({})])).toEqual([30, 100]);
  });

  it('of policies that decide nothing are none', () => {
    const validity = { notAfter: 30 };
    expect(boundariesOf([policy({ action: 'AUDIT', validity }), policy({ shadow: true, validity })])).toEqual([]);
  });

  it('of CUSTOM policies count', () => {
    expect(boundariesOf([policy({ action: 'CUSTOM', validity: { notBefore: 30 } })])).toEqual([30]);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Json } from '../../../src/core/identity/jwt-claims.ts';
import { problemsOfClaims, reservedClaims, resolveClaims } from '../../../src/core/identity/jwt-claims.ts';
import { reservedClaims as refusedWhenSigned } from '../../../src/core/identity/jwt-svid.ts';
import { expectAppError } from '../../support/errors.ts';

const deep = (levels: number): Json => (levels === 0 ? 1 : [deep(levels - 1)]);

describe('Claims of an entry', () => {
  it('an entry cannot have what would be refused with every token', () => {
    expect(new Set(reservedClaims)).toEqual(new Set(refusedWhenSigned));
  });

  it.each(reservedClaims)('cannot be %s', (name) => {
    const [problem] = problemsOfClaims({ [name]: 'x' }, []);
    expect(problem).toEqual({ claim: name, message: expect.stringMatching(/^is reserved, as are/) });
  });

  it.each([
    [{ '': 1 }, /1 to 128 characters/],
    [{ ['x'.repeat(129)]: 1 }, /1 to 128 characters/],
    [{ 'a\nb': 1 }, /1 to 128 characters/],
    [{ a: '{{k8s.ns}}' }, /\{\{k8s\.ns\}\} is none/],
    [{ a: { b: ['x {{other.x}}'] } }, /\{\{other\.x\}\} is none/],
    [Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`c${i}`, 1])), /at most 32/],
    [{ a: 'x'.repeat(4096) }, /4096 characters/],
    [{ a: deep(8) }, /8 levels/],
  ])('are refused for %j', (claims, message) => {
    const problems = problemsOfClaims(claims as Record<string, Json>, ['k8s.sa']);
    expect(problems.map((problem) => problem.message)).toEqual([expect.stringMatching(message)]);
  });

  it('may be any other JSON, with the variables of the template', () => {
    const claims = {
      role: 'admin',
      who: '{{k8s.ns}}/{{k8s.sa}}',
      list: [1, true, null, { x: '{{k8s.sa}}' }],
      deep: deep(7),
    };
    expect(problemsOfClaims(claims, ['k8s.ns', 'k8s.sa'])).toEqual([]);
    expect(resolveClaims(claims, { 'k8s.ns': 'shop', 'k8s.sa': 'web' })).toEqual({
      ...claims,
      who: 'shop/web',
      list: [1, true, null, { x: 'web' }],
    });
  });

  it('are not resolved without a value, nor is a value resolved again', async () => {
    await expectAppError(() => resolveClaims({ a: '{{k8s.ns}}' }, {}), 'forbidden', /variable without a value/);
    await expectAppError(() => resolveClaims({ a: '{{toString}}' }, {}), 'forbidden', /variable without a value/);
    expect(resolveClaims({ a: '{{x.a}}' }, { 'x.a': '{{x.b}}$&' })).toEqual({ a: '{{x.b}}$&' });
  });

  it('are kept as they are where they have no variables, and checking them never fails', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const claims = JSON.parse(JSON.stringify(value)) as Record<string, Json>;
        if (problemsOfClaims(claims, []).length === 0) expect(resolveClaims(claims, {})).toEqual(claims);
      }),
      { numRuns: 500 },
    );
  });
});

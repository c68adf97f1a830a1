import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { isTemplate, matchTemplate, parseTemplate, resolveTemplate } from '../../../src/core/identity/template.ts';
import { expectAppError } from '../../support/errors.ts';

const both = { spiffeId: 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}', namespaces: ['shop', 'bank'] };

describe('A template', () => {
  it('names its variables once each, in order, and the one that is the namespace', () => {
    expect(parseTemplate(both.spiffeId)).toMatchObject({
      trustDomain: 'example.org',
      variables: ['k8s.ns', 'k8s.sa'],
      namespaceVariable: 'k8s.ns',
    });
    const twice = parseTemplate('spiffe://example.org/vm/{{unix.user}}/x-{{unix.user}}.y');
    expect(twice).toMatchObject({ variables: ['unix.user'], namespaceVariable: undefined });
    const slash = parseTemplate('spiffe://example.org/ns/shop/sa/{{k8s.pod-label:app.kubernetes.io/name}}');
    expect(slash).toMatchObject({
      variables: ['k8s.pod-label:app.kubernetes.io/name'],
      namespaceVariable: undefined,
    });
  });

  it.each([
    ['spiffe://{{k8s.ns}}/ns/a/sa/b', /trust domain must not have a variable/],
    ['spiffe://{{k8s.ns}}', /trust domain must not have a variable/],
    ['spiffe://example.org{{k8s.ns}}/a', /trust domain must not have a variable/],
    ['spiffe://Example.org/ns/shop/sa/{{k8s.sa}}', /SPIFFE ID/],
    ['spiffe:///ns/shop/sa/{{k8s.sa}}', /trust domain is empty/],
    ['http://example.org/{{k8s.sa}}', /must begin with spiffe/],
    ['spiffe://example.org/{{k8s.ns}}/a', /first segment/],
    ['spiffe://example.org/w{{k8s.ns}}/a', /first segment/],
    ['spiffe://example.org/ns/x-{{k8s.ns}}/sa/b', /namespace.*not both/],
    ['spiffe://example.org/ns/{{k8s.ns}}x/sa/b', /namespace.*not both/],
    ['spiffe://example.org/a/{{k8s.ns}}{{k8s.sa}}', /only one variable/],
    ['spiffe://example.org/a/{{k8s.ns}}-{{k8s.sa}}', /only one variable/],
    ['spiffe://example.org/a/{{k8s.ns', /no \}\}/],
    ['spiffe://example.org/a/{{}}', /\{\{type\.key\}\}/],
    ['spiffe://example.org/a/{{k8s}}', /\{\{type\.key\}\}/],
    ['spiffe://example.org/a/{{.ns}}', /\{\{type\.key\}\}/],
    ['spiffe://example.org/a/{{k8s.}}', /\{\{type\.key\}\}/],
    ['spiffe://example.org/a/{{ k8s.ns }}', /\{\{type\.key\}\}/],
    [`spiffe://example.org/a/{{k8s.${'x'.repeat(253)}}}`, /\{\{type\.key\}\}/],
    ['spiffe://example.org/a/{{{k8s.ns}}}', /\{\{type\.key\}\}|besides its variable/],
    ['spiffe://example.org/a/{{k8s.ns}}}', /besides its variable/],
    ['spiffe://example.org/a/%41{{k8s.ns}}', /besides its variable/],
    ['spiffe://example.org/a//{{k8s.ns}}', /path segment/],
    ['spiffe://example.org/a/../{{k8s.ns}}', /path segment/],
    ['spiffe://example.org/a/{{k8s.ns}}/', /path segment/],
    ['spiffe://example.org/a/b', /no variable/],
    [`spiffe://example.org/a/${Array.from({ length: 9 }, (_, i) => `{{k.v${i}}}`).join('/')}`, /more than 8/],
    [`spiffe://example.org/a/{{k8s.ns}}/${'x'.repeat(2048)}`, /longer than 2048/],
  ])('is refused for %j', async (text, message) => {
    const error = await expectAppError(() => parseTemplate(text), 'invalid');
    expect(error.message).toMatch(message);
  });

  it('gives the SPIFFE ID of its variables', () => {
    const id = 'spiffe://example.org/ns/shop/sa/web';
    const variables = { 'k8s.ns': 'shop', 'k8s.sa': 'web' };
    expect(resolveTemplate(both, variables)).toBe(id);
    expect(matchTemplate(both, id)).toEqual(variables);
    expect(resolveTemplate({ spiffeId: id, namespaces: [] }, {})).toBe(id);
  });

  it.each([
    ['a variable is missing', { 'k8s.ns': 'shop' }],
    ['no variable is given', {}],
    ['there is one that it does not have', { 'k8s.ns': 'shop', 'k8s.sa': 'web', 'k8s.pod': 'x' }],
    ['the namespace is outside its bounds', { 'k8s.ns': 'kube-system', 'k8s.sa': 'web' }],
    ['a value is empty', { 'k8s.ns': 'shop', 'k8s.sa': '' }],
    ['a value is a step up', { 'k8s.ns': 'shop', 'k8s.sa': '..' }],
    ['a value is more than one segment', { 'k8s.ns': 'shop', 'k8s.sa': 'web/x' }],
    ['a value has another sign', { 'k8s.ns': 'shop', 'k8s.sa': 'we%62' }],
    ['a value has a line break', { 'k8s.ns': 'shop', 'k8s.sa': 'web\n' }],
    ['a service is no DNS label', { 'k8s.ns': 'shop', 'k8s.sa': 'Web' }],
    ['a value is too long', { 'k8s.ns': 'shop', 'k8s.sa': 'w'.repeat(2048) }],
    ['a name is one that every object has', { 'k8s.ns': 'shop', toString: 'web' }],
  ])('does not allow an identity when %s', async (_, variables) => {
    await expectAppError(() => resolveTemplate(both, variables as Record<string, string>), 'forbidden');
  });

  it('allows no variables for an entry that is none', async () => {
    const plain = { spiffeId: 'spiffe://example.org/web', namespaces: [] };
    await expectAppError(() => resolveTemplate(plain, { 'k8s.ns': 'shop' }), 'forbidden', /no variable of a name/);
  });

  it('makes no step up out of a literal and a value', async () => {
    const dot = { spiffeId: 'spiffe://example.org/a/.{{unix.user}}', namespaces: [] };
    await expectAppError(() => resolveTemplate(dot, { 'unix.user': '.' }), 'forbidden');
    expect(resolveTemplate(dot, { 'unix.user': 'a' })).toBe('spiffe://example.org/a/.a');
    // A value is a whole segment by itself, also where something stands beside it.
    const beside = { spiffeId: 'spiffe://example.org/a/x-{{unix.user}}', namespaces: [] };
    for (const value of ['', '.', '..']) {
      await expectAppError(() => resolveTemplate(beside, { 'unix.user': value }), 'forbidden');
    }
  });

  it('reads a SPIFFE ID backwards only where it could have made it', () => {
    const same = { spiffeId: 'spiffe://example.org/vm/{{u.x}}/{{u.x}}', namespaces: [] };
    expect(matchTemplate(same, 'spiffe://example.org/vm/a/a')).toEqual({ 'u.x': 'a' });
    expect(matchTemplate(same, 'spiffe://example.org/vm/a/b')).toBeUndefined();
    expect(matchTemplate(same, 'spiffe://example.org/vm/a')).toBeUndefined();
    expect(matchTemplate(same, 'spiffe://other.org/vm/a/a')).toBeUndefined();
    expect(matchTemplate(both, 'spiffe://example.org/ns/kube-system/sa/web')).toBeUndefined();
    const affixes = { spiffeId: 'spiffe://example.org/vm/aa{{u.x}}aa', namespaces: [] };
    expect(matchTemplate(affixes, 'spiffe://example.org/vm/aaa')).toBeUndefined();
    expect(matchTemplate(affixes, 'spiffe://example.org/vm/aabaa')).toEqual({ 'u.x': 'b' });
  });

  it('is parsed or refused as invalid, whatever the text is', () => {
    const part = fc.oneof(
      fc.constantFrom(
        'spiffe://',
        'example.org',
        '/',
        '{{',
        '}}',
        '{',
        '}',
        'k8s.ns',
        'ns',
        'sa',
        '.',
        '..',
        'writ',
        '%',
      ),
      fc.string({ maxLength: 4 }),
    );
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 16 }).map((parts) => parts.join('')),
        (text) => {
          try {
            const template = parseTemplate(text);
            expect(isTemplate(text)).toBe(true);
            expect(template.variables.length).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toBeInstanceOf(AppError);
            expect(error).toMatchObject({ code: 'invalid' });
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('never leaves its bounds, whatever an agent says', () => {
    const templates = [
      both,
      { spiffeId: 'spiffe://example.org/ns/shop/sa/{{k8s.sa}}', namespaces: [] },
      { spiffeId: 'spiffe://example.org/vm/a-{{k8s.sa}}.b/{{k8s.ns}}', namespaces: [] },
    ];
    const value = fc.oneof(
      fc.constantFrom('shop', 'bank', 'kube-system', '..', '.', '', '/', 'writ', 'a/b', '{{k8s.sa}}', '%2f'),
      fc.string(),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...templates),
        fc.dictionary(fc.constantFrom('k8s.ns', 'k8s.sa', 'k8s.x', '__proto__', 'constructor'), value, {
          noNullPrototype: true,
        }),
        (entry, variables) => {
          let spiffeId: string;
          try {
            spiffeId = resolveTemplate(entry, variables);
          } catch (error) {
            expect(error).toMatchObject({ code: 'forbidden' });
            return;
          }
          const id = parseSpiffeId(spiffeId);
          expect(id.trustDomain).toBe('example.org');
          expect(id.path).toMatch(/^\/(ns\/(shop|bank)\/sa\/[a-z0-9-]+|vm\/a-[^/]+\.b\/[^/]+)$/);
          expect(matchTemplate(entry, spiffeId)).toEqual({ ...variables });
        },
      ),
      { numRuns: 2000 },
    );
  });
});

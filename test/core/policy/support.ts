import { parseMatch } from '../../../src/core/policy/match.ts';
import type { Action, Operation, Policy, Request, Rule, Source, StringMatch } from '../../../src/core/policy/model.ts';
import { parsePolicies } from '../../../src/core/policy/parse.ts';

/** Short ways to say policies and requests in tests. */

export function m(text: string): StringMatch {
  const match = parseMatch(text);
  if (match === undefined) throw new Error(`not a match: ${text}`);
  return match;
}

export function source(o: { principals?: string[]; namespaces?: string[] }): Source {
  return { principals: (o.principals ?? []).map(m), namespaces: (o.namespaces ?? []).map(m) };
}

export function operation(o: { methods?: string[]; paths?: string[]; ports?: number[] }): Operation {
  return { methods: (o.methods ?? []).map(m), paths: (o.paths ?? []).map(m), ports: o.ports ?? [] };
}

export function rule(o: { from?: Source[]; to?: Operation[] } = {}): Rule {
  return { from: o.from ?? [], to: o.to ?? [] };
}

export function policy(
  o: { name?: string; namespace?: string; revision?: number; action?: Action; selector?: Record<string, string> },
  ...rules: Rule[]
): Policy {
  return {
    namespace: o.namespace ?? 'shop',
    name: o.name ?? 'p',
    revision: o.revision ?? 7,
    selector: o.selector ?? {},
    action: o.action ?? 'ALLOW',
    rules,
  };
}

export const web = 'spiffe://example.org/ns/shop/sa/web';

export function http(method = 'GET', path = '/', o: { source?: string; port?: number } = {}): Request {
  return { source: o.source ?? web, port: o.port ?? 8080, http: { method, path } };
}

export function tcp(o: { source?: string; port?: number } = {}): Request {
  return { source: o.source ?? web, port: o.port ?? 8080 };
}

/** A policy document around the lines of a spec, which come unindented. */
export function document(spec: string, o: { apiVersion?: string; name?: string } = {}): string {
  const lines = spec.trim().split('\n');
  return [
    `apiVersion: ${o.apiVersion ?? 'security.istio.io/v1'}`,
    'kind: AuthorizationPolicy',
    'metadata:',
    `  name: ${o.name ?? 'p'}`,
    '  namespace: shop',
    ...(lines.length === 1 ? [`spec: ${lines[0]}`] : ['spec:', ...lines.map((line) => `  ${line}`)]),
    '',
  ].join('\n');
}

export function parseOne(text: string): Policy {
  const [only, ...others] = parsePolicies(text);
  if (only === undefined || others.length > 0) throw new Error('expected one policy');
  return only.policy;
}

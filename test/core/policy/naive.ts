import type {
  Condition,
  Decision,
  Operation,
  Policy,
  Request,
  Rule,
  Source,
  StringMatch,
} from '../../../src/core/policy/model.ts';

/**
 * The oracle: the semantics of reference rules 2 to 28 and 42 with default deny, and of egress, written so that it can be checked by
 * reading. It shares no code with what it judges, looks at every rule, and takes no care to be fast.
 */
export function naiveDecide(policies: readonly Policy[], request: Request): Decision {
  if (isNeither(request)) return defaultDeny;
  const enforced = decideBy(
    policies.filter((p) => p.shadow !== true),
    request,
  );
  const decision = withMarks(policies, request, enforced, enforced);
  if (enforced.decision === 'deny') return decision;
  // Of each authorizer, the first rule that has it asked.
  const providers = [...new Set(policies.flatMap((p) => (p.action === 'CUSTOM' ? [p.provider ?? ''] : [])))].sort();
  const custom = providers.flatMap((provider) => {
    const rule = firstMatch(
      policies.filter((p) => p.action === 'CUSTOM' && p.provider === provider),
      request,
    );
    return rule === undefined ? [] : [{ provider, rule }];
  });
  return custom.length === 0 ? decision : { ...decision, custom };
}

/** The same for the calls that a workload makes: open until one policy about them is enforced. */
export function naiveEgress(policies: readonly Policy[], request: Request): Decision {
  if (policies.some((p) => p.action !== 'AUDIT' && p.shadow !== true)) return naiveDecide(policies, request);
  if (isNeither(request)) return defaultDeny;
  const open: Decision = { decision: 'allow', reason: 'egress-open', rule: 'egress-open' };
  return withMarks(policies, request, open, policies.some((p) => p.shadow === true) ? defaultDeny : open);
}

const defaultDeny: Decision = { decision: 'deny', reason: 'default-deny', rule: 'default-deny' };

/** A workload has a path in its SPIFFE ID; nobody comes in plain text and has no ID. */
function isNeither({ source, plaintext }: Request): boolean {
  return plaintext === true ? source !== '' : !/^spiffe:\/\/[^/]+\//.test(source);
}

/** @param before What shadow policies would find decided already. */
function withMarks(policies: readonly Policy[], request: Request, decision: Decision, before: Decision): Decision {
  // Enforced policies speak first: shadow ones are asked only where they would change something.
  let shadow = before;
  if (before.reason !== 'deny-rule') {
    const denied = firstMatch(
      policies.filter((p) => p.shadow === true && p.action === 'DENY'),
      request,
    );
    const allowed = firstMatch(
      policies.filter((p) => p.shadow === true && p.action === 'ALLOW'),
      request,
    );
    if (denied !== undefined) shadow = { decision: 'deny', reason: 'deny-rule', rule: denied };
    else if (before.reason === 'default-deny' && allowed !== undefined)
      shadow = { decision: 'allow', reason: 'allow-rule', rule: allowed };
  }
  const audited = firstMatch(
    policies.filter((p) => p.action === 'AUDIT'),
    request,
  );
  return {
    ...decision,
    ...(shadow.rule !== decision.rule && { shadow: { decision: shadow.decision, rule: shadow.rule } }),
    ...(audited !== undefined && { audited }),
  };
}

function decideBy(policies: readonly Policy[], request: Request): Decision {
  const denied = firstMatch(
    policies.filter((p) => p.action === 'DENY'),
    request,
  );
  if (denied !== undefined) return { decision: 'deny', reason: 'deny-rule', rule: denied };
  const allowed = firstMatch(
    policies.filter((p) => p.action === 'ALLOW'),
    request,
  );
  if (allowed !== undefined) return { decision: 'allow', reason: 'allow-rule', rule: allowed };
  return defaultDeny;
}

function firstMatch(policies: readonly Policy[], request: Request): string | undefined {
  const sorted = [...policies].sort((a, b) =>
    a.namespace < b.namespace ? -1 : a.namespace > b.namespace ? 1 : a.name < b.name ? -1 : a.name > b.name ? 1 : 0,
  );
  for (const policy of sorted) {
    if (!inTime(policy, request)) continue;
    for (const [index, rule] of policy.rules.entries()) {
      if (ruleMatches(policy, rule, request)) return `${policy.namespace}/${policy.name}@${policy.revision}#${index}`;
    }
  }
  return undefined;
}

function inTime(policy: Policy, request: Request): boolean {
  if (policy.validity === undefined) return true;
  if (request.time === undefined) return policy.action !== 'ALLOW';
  if (policy.validity.notBefore !== undefined && request.time < policy.validity.notBefore) return false;
  return policy.validity.notAfter === undefined || request.time < policy.validity.notAfter;
}

function ruleMatches(policy: Policy, rule: Rule, request: Request): boolean {
  const from = rule.from.length === 0 || rule.from.some((source) => sourceMatches(policy, source, request));
  const to = rule.to.length === 0 || rule.to.some((operation) => operationMatches(policy, operation, request));
  return from && to && allHold(policy, rule.when, request);
}

function sourceMatches(policy: Policy, source: Source, request: Request): boolean {
  const { principal, namespace } = callerOf(request);
  return (
    fieldMatches(source.principals, principal) &&
    fieldMatches(source.namespaces, namespace) &&
    allHold(policy, source.where, request)
  );
}

function operationMatches(policy: Policy, operation: Operation, request: Request): boolean {
  const { http, port } = request;
  if (operation.ports.length > 0 && !operation.ports.includes(port)) return false;
  if (!allHold(policy, operation.where, request)) return false;
  if (http === undefined) return operation.methods.length === 0 && operation.paths.length === 0;
  return fieldMatches(operation.methods, http.method) && fieldMatches(operation.paths, http.path);
}

function callerOf(request: Request) {
  const principal = request.source.replace('spiffe://', '');
  const parts = /^[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(principal);
  return {
    principal,
    namespace: parts?.[1] ?? '',
    account: parts === null ? '' : `${parts[1]}/${parts[2]}`,
    trustDomain: principal.split('/')[0] ?? '',
  };
}

function fieldMatches(values: readonly StringMatch[], actual: string): boolean {
  return values.length === 0 || values.some((value) => valueMatches(value, actual));
}

function valueMatches(match: StringMatch, actual: string): boolean {
  if (match.kind === 'present') return actual.length > 0;
  if (match.kind === 'exact') return actual === match.value;
  if (match.kind === 'prefix') return actual.slice(0, match.value.length) === match.value;
  if (match.kind === 'template') return templateMatches(match.value, actual);
  return actual.slice(Math.max(0, actual.length - match.value.length)) === match.value;
}

/** Tests may build expressions from text; the product never does. */
function templateMatches(template: string, path: string): boolean {
  const pattern = template
    .split(/(\{\*\*?\})/)
    .map((part) => (part === '{*}' ? '[^/]+' : part === '{**}' ? '.*' : part.replace(/[^A-Za-z0-9/]/g, '\\$&')))
    .join('');
  return new RegExp(`^${pattern}$`, 's').test(path);
}

function allHold(policy: Policy, conditions: readonly Condition[] | undefined, request: Request): boolean {
  return (conditions ?? []).every((condition) => {
    const isHttp = /^(request|operation)\./.test(condition.key);
    if (isHttp && request.http === undefined) return false;
    const header = /^request\.headers\[(.*)\]$/.exec(condition.key)?.[1]?.toLowerCase();
    if (header !== undefined) {
      const values = request.http?.headers?.get(header);
      if (values === undefined) return condition.values.length === 0;
      // Which of them the application will read nobody knows.
      const readings = values.length === 1 ? values : [values.join(','), ...values];
      const holds = (reading: string) => oneHolds(condition, [reading]);
      return policy.action === 'ALLOW' ? readings.every(holds) : readings.some(holds);
    }
    return oneHolds(condition, textsOf(condition.key, request));
  });
}

/** @param texts None for an attribute that the call does not have. */
function oneHolds(condition: Condition, texts: readonly string[]): boolean {
  const matches = (value: string) => texts.some((text) => textMatches(condition.key, value, text));
  return (condition.values.length === 0 || condition.values.some(matches)) && !condition.notValues.some(matches);
}

function textsOf(key: string, request: Request): readonly string[] {
  const caller = callerOf(request);
  const given = (text: string | undefined) => (text === undefined || text === '' ? [] : [text]);
  const claims = request.http?.token?.claims ?? {};
  if (key === 'source.principal') return given(caller.principal);
  if (key === 'source.namespace') return given(caller.namespace);
  if (key === 'source.serviceAccount') return given(caller.account);
  if (key === 'source.trustDomain') return given(caller.trustDomain);
  if (key === 'source.ip') return given(request.connection?.peerIp);
  if (key === 'remote.ip') return given(request.connection?.remoteIp ?? request.connection?.peerIp);
  if (key === 'destination.ip') return given(request.connection?.ownIp);
  if (key === 'destination.port') return [String(request.port)];
  if (key === 'connection.sni') return given(request.connection?.sni);
  if (key === 'operation.host') return given(request.http?.host?.toLowerCase());
  if (key === 'operation.method') return request.http === undefined ? [] : [request.http.method];
  if (key === 'operation.path') return request.http === undefined ? [] : [request.http.path];
  if (key === 'request.auth.principal') {
    if (request.http?.token === undefined) return [];
    return [JSON.stringify([claims.iss ?? request.http.token.trustDomain, claims.sub])];
  }
  const name = key === 'request.auth.audiences' ? 'aud' : key === 'request.auth.presenter' ? 'azp' : undefined;
  const path = name === undefined ? [...key.matchAll(/\[([^\]]+)\]/g)].map((found) => found[1] ?? '') : [name];
  let value: unknown = claims;
  for (const step of path) value = (value as Record<string, unknown> | undefined)?.[step];
  if (typeof value === 'string') return path.join() === 'scope' ? value.split(' ') : [value];
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}

function textMatches(key: string, value: string, text: string): boolean {
  if (key.endsWith('.ip')) return ipMatches(value, text);
  if (key === 'request.auth.principal') return requestPrincipalMatches(value, text);
  if (key.startsWith('request.headers') && value === '*') return true;
  if (key === 'operation.path' && value.includes('{')) return templateMatches(value, text);
  return formMatches(key === 'operation.host' ? value.toLowerCase() : value, text);
}

function formMatches(value: string, text: string): boolean {
  if (value === '*') return text !== '';
  if (value.startsWith('*')) return text.endsWith(value.slice(1));
  if (value.endsWith('*')) return text.startsWith(value.slice(0, -1));
  return text === value;
}

/** Only IPv4, which is all that the cases hold. */
function ipMatches(block: string, address: string): boolean {
  const [network = '', length = '32'] = block.split('/');
  const number = (ip: string) => ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(length));
  return Math.floor(number(network) / size) === Math.floor(number(address) / size);
}

/** Rule 14, form by form. */
function requestPrincipalMatches(value: string, text: string): boolean {
  const [issuer, subject] = JSON.parse(text) as [string, string];
  if (value === '*') return issuer !== '' && subject !== '';
  const slash = value.lastIndexOf('/');
  if (slash === -1)
    return value.startsWith('*') ? subject.endsWith(value.slice(1)) : issuer.startsWith(value.slice(0, -1));
  return formMatches(value.slice(0, slash), issuer) && formMatches(value.slice(slash + 1), subject);
}

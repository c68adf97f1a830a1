import { AppError } from '../base/errors.ts';
import { attributeOf, parseValue } from '../core/policy/attributes.ts';
import type {
  Action,
  Condition,
  Operation,
  Policy,
  Rule,
  Source,
  StringMatch,
  Validity,
} from '../core/policy/model.ts';
import { isTemplate, whyNoTemplate } from '../core/policy/path-template.ts';
import type { EndpointProtocol, Service, ServiceEndpoint, SnapshotContent } from '../core/policy/snapshot.ts';
import { MAX_TRUSTED_PROXIES } from '../core/policy/snapshot.ts';
import { fromExternalAuthorizers, toExternalAuthorizer } from './external-authorizer.ts';
import * as field from './fields.ts';
import type {
  AuthorizationPolicy as ProtoPolicy,
  AuthorizationPolicy__Output as ProtoPolicyOutput,
} from './gen/writ/v1/AuthorizationPolicy.ts';
import type { PolicyCondition, PolicyCondition__Output } from './gen/writ/v1/PolicyCondition.ts';
import type { PolicyOperation, PolicyOperation__Output } from './gen/writ/v1/PolicyOperation.ts';
import type { PolicyRule, PolicyRule__Output } from './gen/writ/v1/PolicyRule.ts';
import type { PolicySource, PolicySource__Output } from './gen/writ/v1/PolicySource.ts';
import type { Service as ProtoService, Service__Output as ProtoServiceOutput } from './gen/writ/v1/Service.ts';
import type { ServiceEndpoint__Output as ProtoEndpointOutput } from './gen/writ/v1/ServiceEndpoint.ts';
import type { SnapshotContent__Output } from './gen/writ/v1/SnapshotContent.ts';
import type { StringMatch__Output as ProtoMatchOutput } from './gen/writ/v1/StringMatch.ts';
import { fromForeignTrustBundle, fromTrustBundle, toTrustBundle } from './identity.ts';
import { snapshotContentCodec } from './loader.ts';
import { fromPeerModes, toPeerModes } from './peer-authentication.ts';
import { fromRateLimit, toRateLimit } from './rate-limit.ts';
import { fromRequestAuthentication, toRequestAuthentication } from './request-authentication.ts';
import { fromMatch, MAX_MATCH_LENGTH, toMatch } from './string-match.ts';

export const actions = field.enumMap<
  Action,
  'POLICY_ACTION_ALLOW' | 'POLICY_ACTION_DENY' | 'POLICY_ACTION_AUDIT' | 'POLICY_ACTION_CUSTOM'
>({
  ALLOW: 'POLICY_ACTION_ALLOW',
  DENY: 'POLICY_ACTION_DENY',
  AUDIT: 'POLICY_ACTION_AUDIT',
  CUSTOM: 'POLICY_ACTION_CUSTOM',
});

export const endpointProtocols = field.enumMap<EndpointProtocol, 'ENDPOINT_PROTOCOL_HTTP' | 'ENDPOINT_PROTOCOL_TCP'>({
  http: 'ENDPOINT_PROTOCOL_HTTP',
  tcp: 'ENDPOINT_PROTOCOL_TCP',
});

/** As many as all entries of one identity may name together. */
const MAX_FEDERATED = 256;

/** Deterministic: equal contents, with their lists in the same order, are equal bytes. */
export function encodeSnapshotContent(content: SnapshotContent): Buffer {
  return snapshotContentCodec.encode({
    policies: content.policies.map(toPolicy),
    egress: (content.egress ?? []).map(toPolicy),
    services: content.services.map(toService),
    bundle: toTrustBundle(content.bundle),
    federated: (content.federated ?? []).map(toTrustBundle),
    requestAuthentications: (content.requestAuthentications ?? []).map(toRequestAuthentication),
    ...(content.peerAuthentication !== undefined && { peerAuthentication: toPeerModes(content.peerAuthentication) }),
    rateLimits: (content.rateLimits ?? []).map(toRateLimit),
    authorizers: (content.authorizers ?? []).map(toExternalAuthorizer),
    trustedProxies: content.trustedProxies ?? 0,
  });
}

/** `invalid` for anything that is not fully understood: a sidecar then keeps what it has, instead of half a policy. */
export function decodeSnapshotContent(bytes: Buffer): SnapshotContent {
  const message = decode(bytes);
  return Object.freeze({
    policies: field.list(message.policies, 'policies', fromPolicy),
    ...(message.egress.length > 0 && { egress: field.list(message.egress, 'egress', fromEgressPolicy) }),
    services: field.list(message.services, 'services', fromService),
    bundle: fromTrustBundle(message.bundle, 'bundle'),
    ...(message.federated.length > 0 && {
      federated: field.list(message.federated, 'federated', fromForeignTrustBundle, { max: MAX_FEDERATED }),
    }),
    ...(message.requestAuthentications.length > 0 && {
      requestAuthentications: field.list(
        message.requestAuthentications,
        'request_authentications',
        fromRequestAuthentication,
      ),
    }),
    ...(message.peerAuthentication !== null && {
      peerAuthentication: fromPeerModes(message.peerAuthentication, 'peer_authentication'),
    }),
    ...(message.rateLimits.length > 0 && { rateLimits: field.list(message.rateLimits, 'rate_limits', fromRateLimit) }),
    ...(message.authorizers.length > 0 && { authorizers: fromExternalAuthorizers(message.authorizers, 'authorizers') }),
    ...(message.trustedProxies > 0 && {
      trustedProxies: fromTrustedProxies(message.trustedProxies, 'trusted_proxies'),
    }),
  });
}

/** More than so many proxies in a row are a mistake, and would let callers choose. */
function fromTrustedProxies(count: number, path: string): number {
  if (count > MAX_TRUSTED_PROXIES) throw field.invalid(path, `is more than ${MAX_TRUSTED_PROXIES}`);
  return count;
}

function decode(bytes: Buffer): SnapshotContent__Output {
  try {
    return snapshotContentCodec.decode(bytes);
  } catch (cause) {
    throw new AppError('invalid', 'content is not a SnapshotContent message.', { cause });
  }
}

function toPolicy(policy: Policy): ProtoPolicy {
  return {
    namespace: policy.namespace,
    name: policy.name,
    revision: field.toU64(policy.revision),
    action: actions.to(policy.action),
    rules: policy.rules.map(toRule),
    shadow: policy.shadow === true,
    provider: policy.provider ?? '',
    ...(policy.validity?.notBefore !== undefined && { notBefore: field.toTime(policy.validity.notBefore) }),
    ...(policy.validity?.notAfter !== undefined && { notAfter: field.toTime(policy.validity.notAfter) }),
  };
}

function fromPolicy(message: ProtoPolicyOutput, path: string): Policy {
  return Object.freeze({
    namespace: field.text(message.namespace, `${path}.namespace`, 255),
    name: field.text(message.name, `${path}.name`, 255),
    revision: field.u64(message.revision, `${path}.revision`),
    selector: Object.freeze({}),
    action: actions.from(message.action, `${path}.action`),
    rules: field.list(message.rules, `${path}.rules`, fromRule),
    ...(message.provider !== '' && { provider: field.text(message.provider, `${path}.provider`, 253) }),
    ...(message.shadow && { shadow: true }),
    ...fromValidity(message, path),
  });
}

function fromEgressPolicy(message: ProtoPolicyOutput, path: string): Policy {
  const policy = fromPolicy(message, path);
  if (policy.action === 'CUSTOM')
    throw field.invalid(`${path}.action`, 'is CUSTOM, which no policy about outgoing calls is');
  return Object.freeze({ ...policy, direction: 'egress' });
}

function fromValidity(message: ProtoPolicyOutput, path: string): { readonly validity?: Validity } {
  if (message.notBefore === null && message.notAfter === null) return {};
  return {
    validity: Object.freeze({
      ...(message.notBefore !== null && { notBefore: field.time(message.notBefore, `${path}.not_before`) }),
      ...(message.notAfter !== null && { notAfter: field.time(message.notAfter, `${path}.not_after`) }),
    }),
  };
}

function toRule(rule: Rule): PolicyRule {
  return { from: rule.from.map(toSource), to: rule.to.map(toOperation), when: (rule.when ?? []).map(toCondition) };
}

function fromRule(message: PolicyRule__Output, path: string): Rule {
  return Object.freeze({
    from: field.list(message.from, `${path}.from`, fromSource),
    to: field.list(message.to, `${path}.to`, fromOperation),
    ...(message.when.length > 0 && { when: field.list(message.when, `${path}.when`, fromCondition) }),
  });
}

function toCondition({ key, values, notValues }: Condition): PolicyCondition {
  return { key, values: [...values], notValues: [...notValues] };
}

/** A key or value that is not known here is a condition that would be left out, and is refused. */
function fromCondition(message: PolicyCondition__Output, path: string): Condition {
  const attribute = attributeOf(message.key);
  if (attribute === undefined) throw field.invalid(`${path}.key`, 'names no attribute that is known here');
  if (message.values.length + message.notValues.length === 0) throw field.invalid(path, 'has no values');
  const value = (text: string, at: string) => {
    if (text.length > MAX_MATCH_LENGTH || parseValue(attribute, text) === undefined) {
      throw field.invalid(at, 'has no meaning that is known here');
    }
    return text;
  };
  return Object.freeze({
    key: message.key,
    values: field.list(message.values, `${path}.values`, value),
    notValues: field.list(message.notValues, `${path}.not_values`, value),
  });
}

function toSource(source: Source): PolicySource {
  return {
    principals: source.principals.map(toMatch),
    namespaces: source.namespaces.map(toMatch),
    where: (source.where ?? []).map(toCondition),
  };
}

function fromSource(message: PolicySource__Output, path: string): Source {
  return Object.freeze({
    principals: field.list(message.principals, `${path}.principals`, fromMatch),
    namespaces: field.list(message.namespaces, `${path}.namespaces`, fromMatch),
    ...(message.where.length > 0 && { where: field.list(message.where, `${path}.where`, fromCondition) }),
  });
}

function toOperation(operation: Operation): PolicyOperation {
  return {
    methods: operation.methods.map(toMatch),
    paths: operation.paths.map(toMatch),
    ports: [...operation.ports],
    where: (operation.where ?? []).map(toCondition),
  };
}

function fromOperation(message: PolicyOperation__Output, path: string): Operation {
  return Object.freeze({
    methods: field.list(message.methods, `${path}.methods`, fromMatch),
    paths: field.list(message.paths, `${path}.paths`, fromPath),
    ports: field.list(message.ports, `${path}.ports`, field.port),
    ...(message.where.length > 0 && { where: field.list(message.where, `${path}.where`, fromCondition) }),
  });
}

function fromPath(message: ProtoMatchOutput, path: string): StringMatch {
  if (message.match !== 'template') return fromMatch(message, path);
  const value = field.text(message.template ?? '', `${path}.template`, MAX_MATCH_LENGTH);
  if (!isTemplate(value) || whyNoTemplate(value) !== undefined) throw field.invalid(path, 'is no path template');
  return Object.freeze({ kind: 'template', value });
}

function toService(service: Service): ProtoService {
  return {
    name: service.name,
    namespace: service.namespace,
    spiffeId: service.spiffeId,
    endpoints: service.endpoints.map((endpoint) => ({
      address: endpoint.address,
      protocol: endpointProtocols.to(endpoint.protocol),
      applicationPort: endpoint.applicationPort ?? 0,
    })),
  };
}

function fromService(message: ProtoServiceOutput, path: string): Service {
  return Object.freeze({
    name: field.text(message.name, `${path}.name`, 255),
    namespace: field.text(message.namespace, `${path}.namespace`, 255),
    spiffeId: field.spiffeId(message.spiffeId, `${path}.spiffe_id`),
    endpoints: field.list(message.endpoints, `${path}.endpoints`, fromEndpoint),
  });
}

function fromEndpoint(message: ProtoEndpointOutput, path: string): ServiceEndpoint {
  return Object.freeze({
    address: field.address(message.address, `${path}.address`),
    protocol: endpointProtocols.from(message.protocol, `${path}.protocol`),
    ...(message.applicationPort !== 0 && {
      applicationPort: field.port(message.applicationPort, `${path}.application_port`),
    }),
  });
}

import { AppError } from '../../base/errors.ts';
import type { EndpointProtocol } from '../../core/policy/snapshot.ts';

/** Where other sidecars reach a sidecar. */
export interface InboundEndpoint {
  /** `host:port`; the host is an IP address (IPv6 in brackets) or a DNS name. */
  readonly address: string;
  readonly protocol: EndpointProtocol;
  /** Port of the local application, which policies name. */
  readonly applicationPort: number;
}

/** What a sidecar is, when it connects. */
export interface ProxyHello {
  /** Of its certificate. */
  readonly instanceId: string;
  /** Of its certificate. */
  readonly spiffeId: string;
  /** By its own account, for people. */
  readonly version: string;
  /**
   * By its own account. A lie harms only its own service: whoever calls an endpoint requires the identity of that service
   * of whatever answers there.
   */
  readonly inbound: readonly InboundEndpoint[];
}

const MAX_ENDPOINTS = 32;
const MAX_ADDRESS_CHARACTERS = 261;
const versionPattern = /^[\x20-\x7e]{0,128}$/;
const addressPattern = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?):([1-9][0-9]{0,4})$/;
const unspecifiedHost = /^(0\.0\.0\.0|\[[0:]+\]):/;

/** Throws `invalid`, naming the field. */
export function checkHello(hello: ProxyHello): void {
  if (!versionPattern.test(hello.version)) {
    throw new AppError('invalid', 'version must have at most 128 characters, all of them visible ASCII or spaces.');
  }
  if (hello.inbound.length > MAX_ENDPOINTS) {
    throw new AppError('invalid', `inbound must have at most ${MAX_ENDPOINTS} endpoints.`);
  }
  for (const [index, endpoint] of hello.inbound.entries()) checkEndpoint(endpoint, `inbound[${index}]`);
}

function checkEndpoint(endpoint: InboundEndpoint, field: string): void {
  const { address, applicationPort } = endpoint;
  const port = address.length <= MAX_ADDRESS_CHARACTERS ? Number(addressPattern.exec(address)?.[3]) : Number.NaN;
  if (!(port <= 65_535)) {
    throw new AppError('invalid', `${field}.address must read host:port, the port from 1 to 65535.`);
  }
  if (unspecifiedHost.test(address)) {
    throw new AppError(
      'invalid',
      `${field}.address is ${address}, where nobody else can reach the sidecar. Configure the address to advertise.`,
    );
  }
  if (!Number.isInteger(applicationPort) || applicationPort < 1 || applicationPort > 65_535) {
    throw new AppError('invalid', `${field}.applicationPort must be from 1 to 65535.`);
  }
}

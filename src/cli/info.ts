import { AppError } from '../base/errors.ts';
import { workloadId } from '../core/identity/spiffe-id.ts';
import type { Client, Reply } from './client.ts';

export interface ServerInfo {
  readonly version: string;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  /** Names of the external authorizers that policies may ask. */
  readonly authorizers: readonly string[];
  /** Name → host:port. */
  readonly addresses: Readonly<Record<string, string>>;
}

export function serverInfo(client: Client): Promise<Reply<ServerInfo>> {
  return client.call<ServerInfo>({ method: 'GET', path: '/v1/info' });
}

/** The address of a listener by name, whatever its case. */
export function addressOf(info: ServerInfo, name: string): string | undefined {
  return Object.entries(info.addresses).find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];
}

/** A SPIFFE ID as it is, or `namespace/service` in the trust domain of the server. */
export async function toSpiffeId(client: Client, text: string): Promise<string> {
  if (text.startsWith('spiffe://')) return text;
  const [namespace, service, ...more] = text.split('/');
  if (!namespace || !service || more.length > 0) {
    throw new AppError('usage', `${JSON.stringify(text)} is neither NAMESPACE/SERVICE nor a SPIFFE ID.`);
  }
  const { body } = await serverInfo(client.reader);
  return workloadId(body.trustDomain, namespace, service).uri;
}

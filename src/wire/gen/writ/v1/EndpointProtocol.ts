// Generated from policy.proto by `npm run gen`. Do not edit.

export const EndpointProtocol = {
  ENDPOINT_PROTOCOL_UNSPECIFIED: 'ENDPOINT_PROTOCOL_UNSPECIFIED',
  ENDPOINT_PROTOCOL_HTTP: 'ENDPOINT_PROTOCOL_HTTP',
  ENDPOINT_PROTOCOL_TCP: 'ENDPOINT_PROTOCOL_TCP',
} as const;

export type EndpointProtocol =
  | 'ENDPOINT_PROTOCOL_UNSPECIFIED'
  | 0
  | 'ENDPOINT_PROTOCOL_HTTP'
  | 1
  | 'ENDPOINT_PROTOCOL_TCP'
  | 2

export type EndpointProtocol__Output = typeof EndpointProtocol[keyof typeof EndpointProtocol]

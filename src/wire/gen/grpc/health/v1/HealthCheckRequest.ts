// Generated from health.proto by `npm run gen`. Do not edit.

export interface HealthCheckRequest {
  'service'?: (string);
}

export interface HealthCheckRequest__Output {
  'service': (string);
}

// Generated from base.proto by `npm run gen`. Do not edit.

export interface ControlPlane {
  'identifier'?: (string);
}

export interface ControlPlane__Output {
  'identifier': (string);
}

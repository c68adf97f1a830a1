// Generated from the proto files by `npm run gen`. Do not edit.

export interface BoolValue {
  'value'?: (boolean);
}

export interface BoolValue__Output {
  'value': (boolean);
}

// Generated from the proto files by `npm run gen`. Do not edit.

export interface StringValue {
  'value'?: (string);
}

export interface StringValue__Output {
  'value': (string);
}

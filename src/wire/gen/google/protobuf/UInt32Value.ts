// Generated from the proto files by `npm run gen`. Do not edit.

export interface UInt32Value {
  'value'?: (number);
}

export interface UInt32Value__Output {
  'value': (number);
}

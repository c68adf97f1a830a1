// Generated from the proto files by `npm run gen`. Do not edit.

export interface Int32Value {
  'value'?: (number);
}

export interface Int32Value__Output {
  'value': (number);
}

// Generated from the proto files by `npm run gen`. Do not edit.

export interface DoubleValue {
  'value'?: (number | string);
}

export interface DoubleValue__Output {
  'value': (number);
}

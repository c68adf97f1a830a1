// Generated from the proto files by `npm run gen`. Do not edit.

export interface FloatValue {
  'value'?: (number | string);
}

export interface FloatValue__Output {
  'value': (number);
}

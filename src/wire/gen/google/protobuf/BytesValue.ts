// Generated from the proto files by `npm run gen`. Do not edit.

export interface BytesValue {
  'value'?: (Buffer | Uint8Array | string);
}

export interface BytesValue__Output {
  'value': (Buffer);
}

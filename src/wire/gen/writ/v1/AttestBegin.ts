// Generated from enrollment.proto by `npm run gen`. Do not edit.

export interface AttestBegin {
  'method'?: (string);
  'payload'?: (Buffer | Uint8Array | string);
  'csr'?: (Buffer | Uint8Array | string);
  'agent'?: (boolean);
}

export interface AttestBegin__Output {
  'method': (string);
  'payload': (Buffer);
  'csr': (Buffer);
  'agent': (boolean);
}

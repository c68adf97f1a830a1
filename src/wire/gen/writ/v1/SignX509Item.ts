// Generated from identity.proto by `npm run gen`. Do not edit.

export interface SignX509Item {
  'entryId'?: (string);
  'csr'?: (Buffer | Uint8Array | string);
  'variables'?: ({[key: string]: string});
}

export interface SignX509Item__Output {
  'entryId': (string);
  'csr': (Buffer);
  'variables': ({[key: string]: string});
}

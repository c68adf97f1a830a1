// Generated from identity.proto by `npm run gen`. Do not edit.

export interface SignWitItem {
  'entryId'?: (string);
  'csr'?: (Buffer | Uint8Array | string);
  'variables'?: ({[key: string]: string});
}

export interface SignWitItem__Output {
  'entryId': (string);
  'csr': (Buffer);
  'variables': ({[key: string]: string});
}

// Generated from identity.proto by `npm run gen`. Do not edit.

export interface SignJwtRequest {
  'audience'?: (string)[];
  'entryId'?: (string);
  'variables'?: ({[key: string]: string});
}

export interface SignJwtRequest__Output {
  'audience': (string)[];
  'entryId': (string);
  'variables': ({[key: string]: string});
}

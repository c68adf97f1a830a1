// Generated from enrollment.proto by `npm run gen`. Do not edit.

export interface Entry {
  'id'?: (string);
  'spiffeId'?: (string);
  'labels'?: ({[key: string]: string});
}

export interface Entry__Output {
  'id': (string);
  'spiffeId': (string);
  'labels': ({[key: string]: string});
}

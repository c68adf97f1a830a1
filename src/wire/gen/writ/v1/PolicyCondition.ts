// Generated from policy.proto by `npm run gen`. Do not edit.

export interface PolicyCondition {
  'key'?: (string);
  'values'?: (string)[];
  'notValues'?: (string)[];
}

export interface PolicyCondition__Output {
  'key': (string);
  'values': (string)[];
  'notValues': (string)[];
}

// Generated from policy.proto by `npm run gen`. Do not edit.

export interface StringMatch {
  'exact'?: (string);
  'prefix'?: (string);
  'suffix'?: (string);
  'present'?: (boolean);
  'template'?: (string);
  'match'?: "exact"|"prefix"|"suffix"|"present"|"template";
}

export interface StringMatch__Output {
  'exact'?: (string);
  'prefix'?: (string);
  'suffix'?: (string);
  'present'?: (boolean);
  'template'?: (string);
  'match'?: "exact"|"prefix"|"suffix"|"present"|"template";
}

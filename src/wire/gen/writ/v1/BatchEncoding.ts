// Generated from audit.proto by `npm run gen`. Do not edit.

export const BatchEncoding = {
  BATCH_ENCODING_UNSPECIFIED: 'BATCH_ENCODING_UNSPECIFIED',
  BATCH_ENCODING_IDENTITY: 'BATCH_ENCODING_IDENTITY',
  BATCH_ENCODING_ZSTD: 'BATCH_ENCODING_ZSTD',
} as const;

export type BatchEncoding =
  | 'BATCH_ENCODING_UNSPECIFIED'
  | 0
  | 'BATCH_ENCODING_IDENTITY'
  | 1
  | 'BATCH_ENCODING_ZSTD'
  | 2

export type BatchEncoding__Output = typeof BatchEncoding[keyof typeof BatchEncoding]

// Generated from http_status.proto by `npm run gen`. Do not edit.

export const StatusCode = {
  Empty: 'Empty',
} as const;

export type StatusCode =
  | 'Empty'
  | 0

export type StatusCode__Output = typeof StatusCode[keyof typeof StatusCode]

import { resolve } from 'node:path';
import type { Schema, Values } from '../base/config.ts';
import { optional, withDefault } from '../base/config.ts';
import { flag, list, path, text } from '../base/config-types.ts';

/** Where the keys of those who issue tokens to end users may be fetched from (docs/request-authentication.md). */
export const tokenKeysSchema = {
  'tokenKeys.caFile': optional(
    path,
    'PEM file of the authorities that issuers of tokens are verified with; those of the system if not given',
  ),
  'tokenKeys.hosts': optional(
    list(
      text({ form: 'host', pattern: /^(\*\.)?[a-z0-9.:-]{1,253}$/, hint: 'a name, or "*." and what names end with' }),
      {
        max: 256,
      },
    ),
    'Hosts that keys of issuers may be fetched from; any if not given',
  ),
  'tokenKeys.allowLoopback': withDefault(
    flag,
    'false',
    'Fetch keys of issuers also from this machine, over plain HTTP too; for trials only',
  ),
} as const satisfies Schema;

export interface TokenKeysConfig {
  readonly caFile: string | undefined;
  readonly hosts: readonly string[] | undefined;
  readonly allowLoopback: boolean;
}

export function tokenKeysConfig(values: Values<typeof tokenKeysSchema>): TokenKeysConfig {
  const caFile = values['tokenKeys.caFile'];
  return Object.freeze({
    caFile: caFile === undefined ? undefined : resolve(caFile),
    hosts: values['tokenKeys.hosts'],
    allowLoopback: values['tokenKeys.allowLoopback'],
  });
}

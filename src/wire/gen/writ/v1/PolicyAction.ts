// Generated from policy.proto by `npm run gen`. Do not edit.

export const PolicyAction = {
  POLICY_ACTION_UNSPECIFIED: 'POLICY_ACTION_UNSPECIFIED',
  POLICY_ACTION_ALLOW: 'POLICY_ACTION_ALLOW',
  POLICY_ACTION_DENY: 'POLICY_ACTION_DENY',
  POLICY_ACTION_AUDIT: 'POLICY_ACTION_AUDIT',
  POLICY_ACTION_CUSTOM: 'POLICY_ACTION_CUSTOM',
} as const;

export type PolicyAction =
  | 'POLICY_ACTION_UNSPECIFIED'
  | 0
  | 'POLICY_ACTION_ALLOW'
  | 1
  | 'POLICY_ACTION_DENY'
  | 2
  | 'POLICY_ACTION_AUDIT'
  | 3
  | 'POLICY_ACTION_CUSTOM'
  | 4

export type PolicyAction__Output = typeof PolicyAction[keyof typeof PolicyAction]

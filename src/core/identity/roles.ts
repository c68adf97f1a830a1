/**
 * What an administrator may do. Closed: a new permission is a new row here, and in the table of roles.
 *
 * What ends in `:read` changes nothing, whatever the method of its request.
 */
export const permissions = [
  /** Who one is oneself, which server this is. */
  'self:read',
  /** Policies of every kind, their history, checks of them. */
  'policies:read',
  'policies:write',
  /** Changes that wait for somebody else's approval. */
  'changes:approve',
  /** Entries, nodes, join tokens (without the tokens), federation. */
  'identities:read',
  'identities:write',
  /** Roots and keys that are trusted. */
  'keys:read',
  'keys:write',
  /** Identities that are cut off. */
  'quarantine:read',
  'quarantine:write',
  /** Sidecars, and what they have acknowledged. */
  'proxies:read',
  /** The record of calls between workloads. */
  'calls:read',
  /** Who got which identity, who did what to the control plane; proofs and the log. */
  'audit:read',
  /** The search index, legal holds; nothing of the record itself, which nobody writes. */
  'audit:write',
  /** Tokens of administrators, without the tokens. */
  'tokens:read',
  'tokens:write',
] as const;
export type Permission = (typeof permissions)[number];

export const roles = ['admin', 'editor', 'auditor', 'viewer'] as const;
export type Role = (typeof roles)[number];

const reads = permissions.filter((permission) => permission.endsWith(':read'));

/** How things are, and what is called: neither who administers, nor who got which identity. */
const view: readonly Permission[] = [
  'self:read',
  'policies:read',
  'identities:read',
  'keys:read',
  'quarantine:read',
  'proxies:read',
  'calls:read',
];

/** Everything that is known about roles. */
const table: Readonly<Record<Role, ReadonlySet<Permission>>> = {
  admin: new Set(permissions),
  /** Policies are theirs; keys, identities and quarantine are not. */
  editor: new Set([...view, 'policies:write', 'changes:approve']),
  /** Reads everything, and changes nothing, not even their own token. */
  auditor: new Set(reads),
  viewer: new Set(view),
};

export function may(role: Role, permission: Permission): boolean {
  return table[role].has(permission);
}

/** In the order of `permissions`. */
export function permissionsOf(role: Role): readonly Permission[] {
  return permissions.filter((permission) => may(role, permission));
}

export function rolesThatMay(permission: Permission): readonly Role[] {
  return roles.filter((role) => may(role, permission));
}

export function isRole(value: unknown): value is Role {
  return roles.some((role) => role === value);
}

export function changesNothing(permission: Permission): boolean {
  return permission.endsWith(':read');
}

import type { AdminTrail } from '../control/ledger/admin-trail.ts';
import { changeOf } from '../core/audit/admin-change.ts';
import type { ServerConfig } from './config.ts';

/**
 * Puts on the record what a control plane is started with: every setting, one a line. A configuration names files that hold
 * secrets, and holds none. A ledger that cannot be written does not keep it from starting, since sidecars need their policies: it is
 * recorded as soon as that is possible, and nothing can be changed before.
 */
export async function recordStart(
  trail: Pick<AdminTrail, 'report'>,
  config: ServerConfig,
  version: string,
): Promise<void> {
  const { after, detail } = changeOf({
    before: undefined,
    after: settingsOf({ version, ...config }),
    from: 'none',
    to: 'configuration',
  });
  await trail.report({ action: 'configuration', outcome: 'done', object: `writ ${version}`, after, detail });
}

/** `name = value` for everything in it, in the order of names, so that two can be compared. */
export function settingsOf(config: object): string {
  const lines: string[] = [];
  const walk = (value: unknown, name: string) => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) walk(inner, name === '' ? key : `${name}.${key}`);
    } else if (value !== undefined) lines.push(`${name} = ${JSON.stringify(value)}\n`);
  };
  walk(config, '');
  return lines.sort().join('');
}

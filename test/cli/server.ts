import type { World as Rest } from '../edge/rest/world.ts';
import { createWorld } from '../edge/rest/world.ts';
import type { Terminal } from './terminal.ts';
import { createTerminal } from './terminal.ts';

export interface Connected extends Terminal {
  readonly rest: Rest;
  readonly url: string;
  readonly tokenFile: string;
}

/** A terminal whose environment names a real REST server on a database of its own. */
export async function connect(
  o: Parameters<typeof createTerminal>[0] & {
    readonly deps?: NonNullable<Parameters<typeof createWorld>[0]>['deps'];
    readonly changes?: NonNullable<Parameters<typeof createWorld>[0]>['changes'];
  } = {},
): Promise<Connected> {
  const { deps, changes } = o;
  const rest = await createWorld({ ...(deps !== undefined && { deps }), ...(changes !== undefined && { changes }) });
  const { url } = await rest.listen();
  const env: Record<string, string> = { ...o.env };
  const terminal = await createTerminal({ ...o, env, clock: rest.clock });
  const tokenFile = await terminal.file('token', `${rest.token}\n`);
  // The terminal made its own copy of the environment.
  Object.assign(terminal.world.env, { WRIT_ADDR: url, WRIT_TOKEN_FILE: tokenFile });
  return { ...terminal, rest, url, tokenFile };
}

import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { isMissing, makePrivateDirectory, readSecretFile, reason, writeFileDurably } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { Target } from './client.ts';
import type { World } from './world.ts';

/** What a saved context and `writ dev` tell about a control plane. */
export interface Context {
  readonly addr: string;
  readonly tokenFile?: string;
  /** Unix socket of the agent that `writ dev` runs. */
  readonly agentSocket?: string;
}

/** Where the address came from. */
export interface Found extends Context {
  readonly source: string;
  readonly hint: string;
}

/** Written by `writ dev` below the directory it was started in. */
export const DEV_FILE = '.writ/dev/dev.json';

const START = 'Start a local one with `npm start`, or name another with --addr.';

/**
 * The control plane to speak to: --addr, else WRIT_ADDR, else the saved context, else a `writ dev` of this directory or
 * one above. The token file goes with the address: a token is never sent to an address that it was not given for.
 */
export async function findContext(
  flags: { readonly addr?: string; readonly tokenFile?: string },
  world: Pick<World, 'env' | 'cwd' | 'startedIn' | 'home'>,
): Promise<Found> {
  const tokenFile = flags.tokenFile ?? nonEmpty(world.env.WRIT_TOKEN_FILE);
  const found = flags.addr === undefined ? await implicit(world) : from(flags.addr, '--addr', 'Is the address right?');
  if (found === undefined) {
    throw new AppError('usage', `No control plane is named, and no \`writ dev\` has run here. ${START}`);
  }
  return tokenFile === undefined ? found : { ...found, tokenFile: resolve(world.cwd, tokenFile) };
}

function from(addr: string, source: string, hint: string): Found {
  return { addr, source, hint };
}

async function implicit(world: Pick<World, 'env' | 'cwd' | 'startedIn' | 'home'>): Promise<Found | undefined> {
  const variable = nonEmpty(world.env.WRIT_ADDR);
  if (variable !== undefined) return from(variable, 'WRIT_ADDR', 'Is WRIT_ADDR right?');
  const saved = contextFile(world);
  const context = await readContext(saved);
  if (context !== undefined)
    return { ...context, source: saved, hint: 'Is the saved context right? See: writ context show' };
  return (await findDev(world.cwd)) ?? findDev(world.startedIn);
}

async function findDev(cwd: string): Promise<Found | undefined> {
  const found = await nearestDev(cwd);
  return found === undefined ? undefined : devContext(found.file, found.context);
}

/** What `writ dev`, of this directory or one above, says of its agent. */
export async function findDevFile(
  world: Pick<World, 'cwd' | 'startedIn'>,
): Promise<{ readonly agentSocket: string | undefined } | undefined> {
  const found = (await nearestDev(world.cwd)) ?? (await nearestDev(world.startedIn));
  return found === undefined ? undefined : { agentSocket: found.context.agentSocket };
}

async function nearestDev(cwd: string): Promise<{ readonly file: string; readonly context: Context } | undefined> {
  for (let at = resolve(cwd); ; at = dirname(at)) {
    const file = join(at, DEV_FILE);
    const context = await readContext(file);
    if (context !== undefined) return { file, context };
    if (dirname(at) === at) return undefined;
  }
}

/**
 * Whoever fills a directory that we work in, such as a clone of theirs, can put such a file there: it may name an address of
 * this machine only, and the token is the one beside it, never a file that it names.
 */
function devContext(file: string, { addr }: Context): Found {
  if (!isLoopback(parseUrl(addr).hostname)) {
    throw new AppError(
      'usage',
      `${file} names ${addr}, which is not on this machine. Remove it, or name one with --addr.`,
    );
  }
  const tokenFile = join(dirname(file), 'admin-token');
  return { addr, tokenFile, source: file, hint: '`writ dev` is not running here. Start it: npm start' };
}

/** WRIT_CONTEXT, else `writ/context.json` in XDG_CONFIG_HOME or ~/.config. */
export function contextFile(world: Pick<World, 'env' | 'home'>): string {
  const named = nonEmpty(world.env.WRIT_CONTEXT);
  return named ?? join(nonEmpty(world.env.XDG_CONFIG_HOME) ?? join(world.home, '.config'), 'writ', 'context.json');
}

export async function readContext(file: string): Promise<Context | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (isMissing(cause) || reason(cause) === 'ENOTDIR') return undefined;
    throw new AppError('usage', `Cannot read ${file}: ${reason(cause)}.`, { cause });
  }
  const { addr, tokenFile, agentSocket } = parse(text, file);
  if (typeof addr !== 'string') throw new AppError('usage', `${file} names no address. Remove it, or save it again.`);
  return {
    addr,
    ...(typeof tokenFile === 'string' && { tokenFile }),
    ...(typeof agentSocket === 'string' && { agentSocket }),
  };
}

function parse(text: string, file: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw new AppError('usage', `${file} is not a saved context. Remove it, or save it again.`);
}

/** It holds no secret: the token stays in its own file. */
export async function writeContext(file: string, context: Context): Promise<void> {
  await makePrivateDirectory(dirname(file));
  await writeFileDurably(file, `${JSON.stringify(context, null, 2)}\n`);
}

/** Reads the token and checks the address. */
export async function targetOf(found: Found, allowPlaintext: boolean): Promise<Target> {
  const url = parseUrl(found.addr);
  if (url.protocol === 'http:' && !isLoopback(url.hostname) && !allowPlaintext) {
    throw new AppError(
      'usage',
      `${url.origin} is plain HTTP beyond this machine: the token would cross the network unencrypted. Use https, or --allow-plaintext.`,
    );
  }
  if (found.tokenFile === undefined) return { url, hint: found.hint };
  const token = (await readSecretFile(found.tokenFile))?.toString('utf8').trim();
  if (token === undefined)
    throw new AppError('usage', `There is no token in ${found.tokenFile}. Name it with --token-file.`);
  if (!/^[\x21-\x7e]{1,512}$/.test(token)) {
    throw new AppError(
      'usage',
      `${found.tokenFile} does not hold a token: one line of printable characters is expected.`,
    );
  }
  return { url, token, tokenFile: found.tokenFile, hint: found.hint };
}

function parseUrl(addr: string): URL {
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(addr);
  // A bare word is rather a slip than a host: without a scheme, a port must show that an address is meant.
  const meant = hasScheme || /:\d+\/?$/.test(addr);
  const text = hasScheme ? addr : `http://${addr}`;
  const url = meant && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new AppError('usage', `The address ${JSON.stringify(addr)} is not a URL such as http://127.0.0.1:8443.`);
  }
  // They would end up in logs and process lists.
  if (url.username !== '' || url.password !== '') throw new AppError('usage', 'The address must not hold credentials.');
  return url;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { JWTBundlesResponse__Output } from '../../wire/gen/JWTBundlesResponse.ts';
import type { JWTSVIDResponse__Output } from '../../wire/gen/JWTSVIDResponse.ts';
import type { ValidateJWTSVIDResponse__Output } from '../../wire/gen/ValidateJWTSVIDResponse.ts';
import type { WITSVIDResponse__Output } from '../../wire/gen/WITSVIDResponse.ts';
import type { X509SVIDResponse__Output } from '../../wire/gen/X509SVIDResponse.ts';
import { writeIdentityFiles } from '../identity-files.ts';
import {
  bundleColumns,
  bundles,
  identityColumns,
  plainClaims,
  tokenColumns,
  x509Identities,
} from '../identity-view.ts';
import { output, refuseCurl } from '../options.ts';
import type { Format } from '../output.ts';
import { printList } from '../output.ts';
import { safe } from '../style.ts';
import { table } from '../table.ts';
import { findWorkloadEndpoint, WorkloadApi } from '../workload-api.ts';
import type { World } from '../world.ts';
import { addWhy } from './identity-why.ts';

interface SocketOption {
  readonly socket?: string;
}

/** @param failed called when a token is not valid, or a process has no identity. */
export function addIdentity(program: Command, world: World, failed: () => void): void {
  const identity = program
    .command('identity')
    .description(
      'Identities of this machine’s processes, as the agent beside them hands them out (SPIFFE Workload API).',
    );
  addFetch(identity, world);
  addBundles(identity, world);
  addWatch(identity, world);
  addValidate(identity, world, failed);
  addWhy(identity, world, failed);
}

function addFetch(identity: Command, world: World): void {
  const fetch = identity
    .command('fetch')
    .description('Fetch an identity of this very process: certificates or tokens.');
  socketOption(fetch.command('x509'))
    .description('Fetch X.509-SVIDs: shown, or written as PEM files with --write. A private key is never shown.')
    .option('--write <dir>', 'write svid.N.pem, svid.N.key (0600) and bundle.N.pem into this directory')
    .addOption(output('table', 'json'))
    .action(async (options: SocketOption & { write?: string; output: Format }, command: Command) => {
      const message = await call(command, options, world, (api) =>
        api.first<X509SVIDResponse__Output>((client, metadata, o) => client.fetchX509Svid({}, metadata, o)),
      );
      if (options.write !== undefined) await writeIdentityFiles(message, options.write, world);
      else
        printList(
          world,
          options.output,
          { columns: identityColumns, name: ({ spiffeId }) => spiffeId },
          x509Identities(message),
        );
    });
  socketOption(fetch.command('jwt'))
    .description('Fetch JWT-SVIDs. The tokens go to standard output, one a line; everything else to standard error.')
    .requiredOption('--audience <name>', 'who the token is for; may be repeated', collect)
    .option('--spiffe-id <id>', 'only that identity')
    .addOption(output('table', 'json'))
    .action(
      async (
        options: SocketOption & { audience: readonly string[]; spiffeId?: string; output: Format },
        command: Command,
      ) => {
        const { svids } = await call(command, options, world, (api) =>
          api.unary<JWTSVIDResponse__Output>((client, metadata, o, done) =>
            client.fetchJwtsvid(
              { audience: [...options.audience], spiffeId: options.spiffeId ?? '' },
              metadata,
              o,
              done,
            ),
          ),
        );
        const tokens = svids.map(({ spiffeId, svid, hint }) => ({ spiffeId, hint, token: svid }));
        printTokens(world, options.output, tokens);
      },
    );
  socketOption(fetch.command('wit'))
    .description('Fetch WIT-SVIDs. The tokens go to standard output, one a line. A private key is never shown.')
    .option('--spiffe-id <id>', 'only that identity')
    .addOption(output('table', 'json'))
    .action(async (options: SocketOption & { spiffeId?: string; output: Format }, command: Command) => {
      const { svids } = await call(command, options, world, (api) =>
        api.first<WITSVIDResponse__Output>((client, metadata, o) =>
          client.fetchWitsvid({ spiffeId: options.spiffeId ?? '' }, metadata, o),
        ),
      );
      const tokens = svids.map(({ spiffeId, witSvid, hint }) => ({ spiffeId, hint, token: witSvid }));
      printTokens(world, options.output, tokens);
    });
}

function addBundles(identity: Command, world: World): void {
  socketOption(identity.command('bundles'))
    .description('Show what other identities are verified with: X.509 roots and JWT keys, by trust domain.')
    .addOption(output('table', 'json'))
    .action(async (options: SocketOption & { output: Format }, command: Command) => {
      const [x509, jwt] = await call(command, options, world, (api) =>
        Promise.all([
          api.first((client, metadata, o) => client.fetchX509Bundles({}, metadata, o)),
          api.first<JWTBundlesResponse__Output>((client, metadata, o) => client.fetchJwtBundles({}, metadata, o)),
        ]),
      );
      printList(
        world,
        options.output,
        { columns: bundleColumns, name: ({ trustDomain }) => trustDomain },
        bundles(x509, jwt),
      );
    });
}

function addWatch(identity: Command, world: World): void {
  socketOption(identity.command('watch'))
    .description('Follow the X.509-SVIDs of this process, until Ctrl-C: a table for every change.')
    .addOption(output('table', 'json'))
    .action(async (options: SocketOption & { output: Format }, command: Command) => {
      await call(command, options, world, async (api) => {
        const updates = api.follow<X509SVIDResponse__Output>((client, metadata, o) =>
          client.fetchX509Svid({}, metadata, o),
        );
        for await (const message of updates) {
          const items = x509Identities(message);
          const time = new Date(world.clock.now()).toISOString();
          if (options.output === 'json') world.stdout(`${JSON.stringify({ time, items })}\n`);
          else world.stdout(`${time}\n${table(identityColumns, items, world.clock.now())}`);
        }
      });
    });
}

function addValidate(identity: Command, world: World, failed: () => void): void {
  socketOption(identity.command('validate'))
    .description('Have the agent verify a JWT-SVID, read from standard input. Exit status 1 if it is not valid.')
    .requiredOption('--audience <name>', 'who the token must be for')
    .addOption(output('table', 'json'))
    .action(async (options: SocketOption & { audience: string; output: Format }, command: Command) => {
      if (world.interactive) world.stderr('Paste the token, then Ctrl-D.\n');
      const svid = (await world.readStdin()).trim();
      if (svid === '') throw new AppError('usage', 'There is no token on standard input.');
      try {
        const answer = await call(command, options, world, (api) =>
          api.unary<ValidateJWTSVIDResponse__Output>((client, metadata, o, done) =>
            client.validateJwtsvid({ audience: options.audience, svid }, metadata, o, done),
          ),
        );
        const claims = plainClaims(answer.claims);
        if (options.output === 'json')
          world.stdout(`${JSON.stringify({ valid: true, spiffeId: answer.spiffeId, claims }, null, 2)}\n`);
        else world.stdout(`valid  ${safe(answer.spiffeId)}\n${JSON.stringify(claims, null, 2)}\n`);
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'invalid') throw error;
        if (options.output === 'json')
          world.stdout(`${JSON.stringify({ valid: false, reason: error.message }, null, 2)}\n`);
        else world.stdout(`not valid  ${safe(error.message)}\n`);
        failed();
      }
    });
}

/** Opens the Workload API for one command. */
async function call<T>(
  command: Command,
  options: SocketOption,
  world: World,
  use: (api: WorkloadApi) => Promise<T>,
): Promise<T> {
  refuseCurl(command, `identity ${command.name()}`);
  const api = await WorkloadApi.open(await findWorkloadEndpoint(options.socket, world), world);
  try {
    return await use(api);
  } finally {
    api.close();
  }
}

function socketOption(command: Command): Command {
  return command.option('--socket <path|uri>', 'socket of the Workload API (SPIFFE_ENDPOINT_SOCKET)');
}

function printTokens(
  world: World,
  format: Format,
  tokens: readonly { readonly spiffeId: string; readonly hint: string; readonly token: string }[],
): void {
  const items = tokens.map((each) => ({ ...each, expiresAt: expiryOf(each.token) }));
  if (format === 'json') {
    printList(world, format, { columns: tokenColumns, name: ({ spiffeId }) => spiffeId }, items);
    return;
  }
  world.stdout(items.map(({ token }) => `${safe(token)}\n`).join(''));
  world.stderr(table(tokenColumns, items, world.clock.now()));
}

/** For people: nothing is verified. */
function expiryOf(token: string): string | null {
  try {
    const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');
    const { exp } = JSON.parse(payload) as { readonly exp?: unknown };
    return typeof exp === 'number' ? new Date(exp * 1000).toISOString() : null;
  } catch {
    return null;
  }
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

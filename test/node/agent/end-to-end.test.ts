import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { startIdentityWorld, TRUST_DOMAIN, until } from '../../support/identity-world.ts';
import { tempDirectory } from '../../support/temp.ts';
import { answer, clientOf, Received, secured, startAgent, statusOf } from './workload-client.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const own = [`unix:uid:${process.geteuid?.()}`];

/** The real control plane, over TLS, the real agent, and this process as a workload. */
async function started() {
  const world = await startIdentityWorld();
  const svid = await world.admit('a');
  const stateDirectory = await tempDirectory();
  const identities = await world.runAgent(svid, { stateDirectory });
  const socketPath = join(await tempDirectory(), 'agent.sock');
  const agent = await startAgent({ identities, socketPath });
  const register = (spiffeId = WEB) => world.entries.create({ spiffeId, parentId: svid.id.uri, selectors: own });
  return {
    ...world,
    svid,
    running: identities,
    agent,
    socketPath,
    stateDirectory,
    register,
    client: clientOf(socketPath),
  };
}

const ids = (message: { svids: readonly { spiffeId: string }[] }) => message.svids.map((svid) => svid.spiffeId);
const serial = (message: { svids: readonly { x509Svid: Buffer }[] }) =>
  new X509Certificate(message.svids[0]?.x509Svid ?? '').serialNumber.toLowerCase();

describe('a workload beside an agent of a real control plane', () => {
  it('is denied, gets its identity when the entry is made, and loses it with the entry', async () => {
    const { client, register, entries, running, recorder } = await started();
    await until(running.state, (state) => state !== undefined);
    expect(await new Received(client.fetchX509Svid({}, secured)).status()).toMatchObject({
      code: status.PERMISSION_DENIED,
    });
    const entry = await register();
    await until(running.state, (state) => (state?.entries.size ?? 0) > 0);
    const stream = new Received(client.fetchX509Svid({}, secured));
    const first = await stream.next();
    expect(ids(first)).toEqual([WEB]);
    expect(recorder.events.filter(({ action }) => action === 'x509-svid')).toMatchObject([
      { subject: WEB, outcome: 'granted', serial: serial(first) },
    ]);
    await register(`${WEB}2`);
    expect(ids(await stream.next())).toEqual([WEB, `${WEB}2`]);
    await entries.delete(entry.id, entry.revision);
    expect(ids(await stream.next())).toEqual([`${WEB}2`]);
  });

  it('keeps what it has, and gets it again, while the control plane is away', async () => {
    const { client, register, running, stop, start } = await started();
    await until(running.state, (state) => state !== undefined);
    await register();
    await until(running.state, (state) => (state?.entries.size ?? 0) > 0);
    const stream = new Received(client.fetchX509Svid({}, secured));
    const before = await stream.next();
    const fetch = () =>
      answer<{ svids: { svid: string }[] }>((done) => client.fetchJwtsvid({ audience: ['a'] }, secured, done));
    const token = await fetch();
    await stop();
    await until(running.state, (state) => state?.connected === false);
    expect(serial(await new Received(client.fetchX509Svid({}, secured)).next())).toBe(serial(before));
    expect(await fetch()).toEqual(token);
    expect(await statusOf(answer((done) => client.fetchJwtsvid({ audience: ['b'] }, secured, done)))).toMatchObject({
      code: status.UNAVAILABLE,
    });
    await start();
    await until(running.state, (state) => state?.connected === true);
    await register(`${WEB}2`);
    expect(ids(await stream.next())).toEqual([WEB, `${WEB}2`]);
  });

  it('has bundles and its old stream from an agent that was started anew while the control plane is away', async () => {
    const { register, running, stop, runAgent, svid, stateDirectory, agent } = await started();
    await until(running.state, (state) => state !== undefined);
    await register();
    await until(running.state, (state) => (state?.entries.size ?? 0) > 0);
    await agent.server.close();
    await running.stop();
    await stop();
    const again = await runAgent(svid, { stateDirectory });
    const { socketPath } = await startAgent({ identities: again, socketPath: agent.socketPath });
    const client = clientOf(socketPath);
    expect(Object.keys((await new Received(client.fetchX509Bundles({}, secured)).next()).bundles)).toEqual([
      `spiffe://${TRUST_DOMAIN}`,
    ]);
    // Keys of workloads die with the agent: a new one has to be signed, and until then the caller is told to come back.
    expect(await statusOf(answer((done) => client.fetchJwtsvid({ audience: ['b'] }, secured, done)))).toMatchObject({
      code: status.UNAVAILABLE,
    });
  });
});

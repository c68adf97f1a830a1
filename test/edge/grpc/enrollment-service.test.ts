import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { createCsr } from '../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import type { Attestation, EnrollmentPort } from '../../../src/edge/grpc/services.ts';
import type { AttestBegin } from '../../../src/wire/enrollment.ts';
import { fromAttestResponse, toAttestRequest, toChallengeResponse } from '../../../src/wire/enrollment.ts';
import type { AttestRequest } from '../../../src/wire/gen/writ/v1/AttestRequest.ts';
import type { AttestResponse__Output } from '../../../src/wire/gen/writ/v1/AttestResponse.ts';
import { clients } from '../../../src/wire/loader.ts';
import { expectAppError } from '../../support/errors.ts';
import type { TestAuthority } from '../../support/pki.ts';
import { createTestAuthority } from '../../support/pki.ts';
import type { Bench } from './harness.ts';
import { ClientStream, startBench, WEB } from './harness.ts';

const begin: AttestBegin = {
  method: 'join_token',
  payload: Buffer.from('wjt_token'),
  csr: createCsr(generateKeyPair().privateKey),
  agent: false,
};

class FakeEnrollment implements EnrollmentPort {
  readonly attestations: Attestation[] = [];
  readonly authority: TestAuthority;
  error: AppError | undefined;
  ask: ((challenge: Attestation['challenge']) => Promise<readonly string[]>) | undefined;
  answers: readonly string[] | undefined;

  constructor(authority: TestAuthority) {
    this.authority = authority;
  }

  async attest(attestation: Attestation) {
    this.attestations.push(attestation);
    if (this.error !== undefined) throw this.error;
    this.answers = await this.ask?.(attestation.challenge);
    const svid = this.authority.issue(WEB, { instanceId: 'web-1' });
    if (attestation.agent) return { svid, bundle: this.authority.bundle };
    return { svid, entry: { id: 'e-1', spiffeId: WEB, labels: { app: 'web' } }, bundle: this.authority.bundle };
  }
}

async function start(limits = {}) {
  const authority = createTestAuthority();
  const enrollment = new FakeEnrollment(authority);
  return { enrollment, bench: await startBench({ enrollment }, { authority, limits }) };
}

function attest(bench: Bench): ClientStream<AttestRequest, AttestResponse__Output> {
  return new ClientStream(bench.client(clients.Enrollment).Attest());
}

describe('Enrollment.Attest', () => {
  it('gives a caller without a certificate one result, and ends', async () => {
    const { bench, enrollment } = await start();
    const stream = attest(bench);
    stream.send(toAttestRequest(begin));
    const reply = fromAttestResponse(await stream.receive());
    await stream.end();
    expect(enrollment.attestations).toEqual([
      { ...begin, source: '127.0.0.1', challenge: expect.any(Function), caller: undefined },
    ]);
    expect(reply).toMatchObject({
      kind: 'result',
      result: {
        certificate: { spiffeId: WEB, instanceId: 'web-1' },
        entry: { id: 'e-1', spiffeId: WEB, labels: { app: 'web' } },
        bundle: { trustDomain: 'example.org', roots: bench.authority.bundle.roots },
      },
    });
  });

  it('S5: asks what the method asks, and hands it the answers, each within 10 s', async () => {
    const { bench, enrollment } = await start();
    enrollment.ask = async (challenge) => {
      const first = await challenge(Buffer.from('one?'));
      return [first, await challenge(Buffer.from('two?'))].map(String);
    };
    const stream = attest(bench);
    stream.send(toAttestRequest(begin));
    for (const answer of ['1', '2']) {
      const reply = fromAttestResponse(await stream.receive());
      expect(reply.kind).toBe('challenge');
      stream.send(toChallengeResponse(Buffer.from(answer)));
    }
    expect(fromAttestResponse(await stream.receive()).kind).toBe('result');
    expect(enrollment.answers).toEqual(['1', '2']);

    const silent = attest(bench);
    silent.send(toAttestRequest(begin));
    await silent.receive();
    while (bench.clock.pendingTimers === 0) await new Promise((resolve) => setImmediate(resolve));
    await bench.clock.advance(10_000);
    await expectAppError(silent.end(), 'deadline-exceeded', 'Nothing was received within 10 s.');

    const confused = attest(bench);
    confused.send(toAttestRequest(begin));
    await confused.receive();
    confused.send(toAttestRequest(begin));
    await expectAppError(confused.end(), 'invalid', 'begin comes once, first.');

    const gone = attest(bench);
    gone.send(toAttestRequest(begin));
    await gone.receive();
    gone.call.end();
    await expectAppError(gone.end(), 'invalid', /ended before the challenge was answered/);

    enrollment.ask = async (challenge) => {
      for (;;) await challenge(Buffer.from('?'));
    };
    const endless = attest(bench);
    endless.send(toAttestRequest(begin));
    for (let i = 0; i < 8; i++) {
      await endless.receive();
      endless.send(toChallengeResponse(Buffer.from('x')));
    }
    await expectAppError(endless.end(), 'internal');
  });

  it('an agent gets no entry; who shows a valid certificate is named to the control plane', async () => {
    const { bench, enrollment } = await start();
    const svid = bench.svid(WEB, { instanceId: 'web-7' });
    const stream = new ClientStream(bench.client(clients.Enrollment, svid).Attest());
    stream.send(toAttestRequest({ ...begin, agent: true }));
    const reply = fromAttestResponse(await stream.receive());
    expect(enrollment.attestations[0]).toMatchObject({
      agent: true,
      caller: { instanceId: 'web-7', serial: svid.serial },
    });
    expect(reply).toMatchObject({ kind: 'result', result: { certificate: { spiffeId: WEB } } });
    expect(reply.kind === 'result' && reply.result.entry).toBeUndefined();
  });

  it('passes on why an attestation is refused', async () => {
    const { bench, enrollment } = await start();
    enrollment.error = new AppError('join-token-refused', 'The join token is not valid.');
    const stream = attest(bench);
    stream.send(toAttestRequest(begin));
    await expectAppError(stream.end(), 'join-token-refused', 'The join token is not valid.');
  });

  it('looks at nothing once an address has used up its rate, and says when to come back', async () => {
    const { bench, enrollment } = await start({ attestationsPerSecond: 0.5, attestationBurst: 2 });
    const once = async () => {
      const stream = attest(bench);
      stream.send(toAttestRequest(begin));
      await stream.end();
    };
    await once();
    await once();
    const error = await expectAppError(once(), 'exhausted', /Try again in 2 s/);
    expect(error.retryAfterSeconds).toBe(2);
    expect(enrollment.attestations).toHaveLength(2);
    await bench.clock.advance(2000);
    await once();
    await expectAppError(once(), 'exhausted');
  });

  it('ends a stream that says nothing for 10 s', async () => {
    const { bench, enrollment } = await start();
    const stream = attest(bench);
    while (bench.clock.pendingTimers === 0) await new Promise((resolve) => setImmediate(resolve));
    await bench.clock.advance(10_000);
    await expectAppError(stream.end(), 'deadline-exceeded', 'Nothing was received within 10 s.');
    expect(enrollment.attestations).toEqual([]);
  });

  it('refuses more than 64 KiB, and a CSR of more than 16 KiB', async () => {
    const { bench, enrollment } = await start();
    const large = attest(bench);
    large.send(toAttestRequest({ ...begin, payload: Buffer.alloc(66_000) }));
    await expectAppError(large.end(), 'too-large', /at most 65536 bytes/);
    const csr = attest(bench);
    csr.send(toAttestRequest({ ...begin, csr: Buffer.alloc(16_385) }));
    await expectAppError(csr.end(), 'invalid', /^begin\.csr is longer/);
    expect(enrollment.attestations).toEqual([]);
  });

  it.each<[string, readonly object[], RegExp]>([
    ['an empty first message', [{}], /^step is missing/],
    ['an answer to no challenge', [{ challengeResponse: Buffer.from('x') }], /^The first message must be begin/],
    ['no message at all', [], /^The stream ended before begin/],
    [
      'a begin without payload',
      [{ begin: { method: 'join_token', csr: Buffer.from('x') } }],
      /^begin\.payload is missing/,
    ],
  ])('%s is invalid', async (_name, messages, expected) => {
    const { bench, enrollment } = await start();
    const stream = attest(bench);
    for (const message of messages) stream.send(message);
    stream.call.end();
    await expectAppError(stream.end(), 'invalid', expected);
    expect(enrollment.attestations).toEqual([]);
  });
});

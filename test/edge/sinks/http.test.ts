import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import type { SinkItem } from '../../../src/control/ledger/sinks/item.ts';
import { toOtlp } from '../../../src/control/ledger/sinks/otlp.ts';
import type { Sink } from '../../../src/control/ledger/sinks/sink.ts';
import { toSplunk } from '../../../src/control/ledger/sinks/splunk.ts';
import { OtlpSink } from '../../../src/edge/sinks/otlp-http.ts';
import { jsonOf } from '../../../src/edge/sinks/post.ts';
import { SplunkSink } from '../../../src/edge/sinks/splunk-hec.ts';
import { WebhookSink } from '../../../src/edge/sinks/webhook.ts';
import { decision } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { decodeOtlp } from './decode-otlp.ts';
import { itemsFrom } from './items.ts';
import type { HttpsReceiver } from './receivers.ts';
import { httpsReceiver } from './receivers.ts';

const items = itemsFrom([decision(), decision()]);
const encode = ({ id }: SinkItem) => [JSON.stringify({ id })];
const never = new AbortController().signal;
const secret = Buffer.from('a shared secret');
const token = '11111111-2222-3333-4444-555555555555';
const channel = '00000000-0000-8000-8000-000000000001';

function closing<S extends Sink>(sink: S): S {
  onTestFinished(() => sink.close());
  return sink;
}
const webhook = ({ url, ca }: Pick<HttpsReceiver, 'url' | 'ca'>) =>
  closing(new WebhookSink({ url, ca, encode, secret, now: () => 1_767_225_600_999 }));

describe('a webhook', () => {
  it('is sent JSON lines with a signature over time and body, that only who has the secret can make', async () => {
    const receiver = await httpsReceiver();
    await webhook(receiver).deliver(items, never);
    const [got] = receiver.received;
    expect(got?.body).toBe(`{"id":"sidecar-1.1.1"}\n{"id":"sidecar-1.1.2"}\n`);
    expect(got?.headers).toMatchObject({ 'content-type': 'application/x-ndjson', 'writ-delivery': 'sidecar-1.1.1:2' });
    const signature = createHmac('sha256', secret).update(`1767225600.${got?.body}`).digest('hex');
    expect(got?.headers['writ-signature']).toBe(`t=1767225600,v1=${signature}`);
  });

  it.each([
    [400, 'invalid'],
    [413, 'invalid'],
    [422, 'invalid'],
    [401, 'unavailable'],
    [403, 'unavailable'],
    [404, 'unavailable'],
    [429, 'unavailable'],
    [503, 'unavailable'],
    [301, 'unavailable'],
  ] as const)('that answers %d is %s, and no redirect is followed', async (status, code) => {
    const receiver = await httpsReceiver();
    receiver.answer = (_, response) => response.writeHead(status, { location: '/elsewhere' }).end('secret words');
    await expectAppError(webhook(receiver).deliver(items, never), code, `The receiver answered ${status}.`);
    expect(receiver.received).toHaveLength(1);
  });

  it('with a certificate of somebody else gets nothing', async () => {
    const receiver = await httpsReceiver();
    const { url } = receiver;
    const sink = closing(new WebhookSink({ url, encode, secret, now: () => 0 }));
    await expectAppError(
      sink.deliver(items, never),
      'unavailable',
      /^The receiver gave no answer: .*(SELF_SIGNED|UNABLE)/,
    );
    expect(receiver.received).toEqual([]);
  });

  it('that hangs up, never answers or answers without end is not waited for longer than told', async () => {
    const receiver = await httpsReceiver();
    receiver.answer = (_, response) => response.destroy();
    await expectAppError(webhook(receiver).deliver(items, never), 'unavailable', /gave no answer/);
    receiver.answer = () => undefined;
    await expectAppError(webhook(receiver).deliver(items, AbortSignal.timeout(50)), 'unavailable', /gave no answer/);
    receiver.answer = (_, response) => {
      const more = setInterval(() => response.write('x'.repeat(65_536)), 1);
      response.on('close', () => clearInterval(more));
    };
    await webhook(receiver).deliver(items, never);
  });

  it('is sent more over the same connection', async () => {
    const receiver = await httpsReceiver();
    const ports = new Set<number | undefined>();
    receiver.answer = (_, response) => {
      ports.add(response.socket?.remotePort);
      response.end('ok');
    };
    const sink = webhook(receiver);
    for (let i = 0; i < 3; i += 1) await sink.deliver(items, never);
    expect(ports.size).toBe(1);
  });
});

describe('OTLP over HTTP', () => {
  const otlp = ({ url, ca }: HttpsReceiver) => {
    const about = { version: '1.2.3', trustDomain: 'example.org' };
    return closing(new OtlpSink({ url, ca, encode: (some) => toOtlp(some, about), token: 'otlp-token' }));
  };

  it('is what a receiver of the protocol decodes: every record with its ids, times and attributes', async () => {
    const receiver = await httpsReceiver();
    receiver.answer = (_, response) => response.end('{"partialSuccess":{}}');
    await otlp(receiver).deliver(items, never);
    const [got] = receiver.received;
    expect(got?.headers).toMatchObject({ 'content-type': 'application/json', authorization: 'Bearer otlp-token' });
    const records = decodeOtlp(got?.body ?? '');
    expect(records.map(({ attributes }) => attributes.get('mesh.event.id'))).toEqual(items.map(({ id }) => id));
    expect(records[0]).toMatchObject({
      ...{ resource: new Map([['service.name', 'writ']]), timeMs: items[0]?.event.time, severity: 9 },
      eventName: 'mesh.authz.decision',
    });
  });

  it('a partial success is a refusal, whether its number is a text or a number', async () => {
    const receiver = await httpsReceiver();
    for (const rejected of ['"1"', '1']) {
      receiver.answer = (_, response) => response.end(`{"partialSuccess":{"rejectedLogRecords":${rejected}}}`);
      await expectAppError(otlp(receiver).deliver(items, never), 'invalid', 'The receiver refused 1 of 2 records.');
    }
    receiver.answer = (_, response) => response.end('not json');
    await otlp(receiver).deliver(items, never);
  });
});

describe('the HTTP Event Collector', () => {
  const host = { host: 'cp', sourcetype: 'writ:json' };
  const splunk = ({ url, ca }: HttpsReceiver, clock = systemClock) =>
    closing(
      new SplunkSink({
        ...{ url, ca, token, channel, clock },
        encode: (item) => [toSplunk(item, JSON.stringify({ id: item.id }), host)],
      }),
    );

  it('events count when the indexer says that it has them, not when they were read', async () => {
    const receiver = await httpsReceiver();
    const clock = new FakeClock();
    let polls = 0;
    receiver.answer = ({ path, body }, response) => {
      if (path === '/services/collector/event') {
        response.end('{"text":"Success","code":0,"ackId":7}');
        return;
      }
      expect(path).toBe(`/services/collector/ack?channel=${channel}`);
      expect(JSON.parse(body)).toEqual({ acks: [7] });
      polls += 1;
      response.end(JSON.stringify({ acks: { 7: polls === 3 } }));
    };
    let done = false;
    const delivery = splunk(receiver, clock)
      .deliver(items, never)
      .then(() => {
        done = true;
      });
    await expect.poll(() => clock.pendingTimers).toBe(1);
    expect(done).toBe(false);
    await clock.advance(1_000);
    await expect.poll(() => clock.pendingTimers).toBe(1);
    await clock.advance(1_000);
    await delivery;
    expect(polls).toBe(3);
    const [events] = receiver.received;
    expect(events?.headers).toMatchObject({ authorization: `Splunk ${token}`, 'x-splunk-request-channel': channel });
    expect(events?.body.split('\n').map((line) => JSON.parse(line).event)).toEqual(items.map(({ id }) => ({ id })));
  });

  it('events that are not confirmed in time come again', async () => {
    const receiver = await httpsReceiver();
    receiver.answer = ({ path }, response) =>
      response.end(path.includes('ack') ? '{"acks":{"1":false}}' : '{"code":0,"ackId":1}');
    const late = new AbortController();
    const delivery = splunk(receiver).deliver(items, late.signal);
    await expect.poll(() => receiver.received.length).toBe(2);
    late.abort();
    await expectAppError(
      delivery,
      'deadline-exceeded',
      'The receiver has not confirmed in time that it has the events.',
    );
  });

  it('a token without acknowledgement is said', async () => {
    const receiver = await httpsReceiver();
    receiver.answer = (_, response) => response.end('{"text":"Success","code":0}');
    await expectAppError(splunk(receiver).deliver(items, never), 'unavailable', /Enable indexer acknowledgement/);
  });

  it('400 is about the data only with the codes that say so', async () => {
    const receiver = await httpsReceiver();
    for (const [code, error] of [
      [6, 'invalid'],
      [12, 'invalid'],
      [7, 'unavailable'],
      [10, 'unavailable'],
    ] as const) {
      receiver.answer = (_, response) => response.writeHead(400).end(JSON.stringify({ code }));
      await expectAppError(splunk(receiver).deliver(items, never), error);
    }
  });
});

describe('whatever a receiver answers', () => {
  const answers = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.json().map((text) => Buffer.from(text)),
    fc
      .constantFrom('{"partialSuccess":null}', '{"partialSuccess":{"rejectedLogRecords":{}}}', '{"acks":[true]}')
      .map((text) => Buffer.from(text)),
  );

  it('is an object or nothing', () => {
    fc.assert(
      fc.property(answers, (body) => {
        expect(jsonOf({ status: 200, body })).toBeTypeOf('object');
      }),
      { numRuns: 500, seed: 3 },
    );
  });

  it('is no acknowledgement, unless it is exactly that', async () => {
    const receiver = await httpsReceiver();
    const { url, ca } = receiver;
    const sink = closing(new SplunkSink({ url, ca, token, channel, clock: systemClock, encode }));
    await fc.assert(
      fc.asyncProperty(answers, async (body) => {
        receiver.answer = (_, response) => response.end(body);
        await expectAppError(sink.deliver(items, never), 'unavailable', /gave no ackId/);
      }),
      { numRuns: 40, seed: 4 },
    );
  });
});

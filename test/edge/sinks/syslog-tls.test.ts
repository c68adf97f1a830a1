import { describe, expect, it, onTestFinished } from 'vitest';
import type { SinkItem } from '../../../src/control/ledger/sinks/item.ts';
import { toSyslog } from '../../../src/control/ledger/sinks/syslog.ts';
import { frameOf, SyslogSink } from '../../../src/edge/sinks/syslog-tls.ts';
import { parseSyslog } from '../../control/ledger/sinks/parsers.ts';
import { decision } from '../../support/audit.ts';
import { expectAppError } from '../../support/errors.ts';
import { itemsFrom } from './items.ts';
import { syslogReceiver } from './receivers.ts';

const items = itemsFrom([decision({ path: '/ä/😀\n12 <1>' }), decision()]);
const encode = (item: SinkItem) => [toSyslog(item, item.event.kind === 'decision' ? item.event.path : '', 'cp')];
const never = new AbortController().signal;

function sinkTo(port: number, ca?: string): SyslogSink {
  const sink = new SyslogSink({ host: '127.0.0.1', port, encode, ...(ca !== undefined && { ca }) });
  onTestFinished(() => sink.close());
  return sink;
}

describe('syslog over TLS', () => {
  it('counts octets, so that nothing in a message can begin another one', async () => {
    const { port, ca, messages } = await syslogReceiver();
    const sink = sinkTo(port, ca);
    await sink.deliver(items, never);
    await sink.deliver(items, never);
    await expect.poll(() => messages.length).toBe(4);
    expect(messages.map((text) => parseSyslog(text).message)).toEqual([
      ...['/ä/😀\n12 <1>', '/orders/1', '/ä/😀\n12 <1>', '/orders/1'],
    ]);
    expect(frameOf('ä').toString('utf8')).toBe('2 ä');
  });

  it('uses one connection, and another when the receiver has ended it', async () => {
    const { port, ca, messages, sockets } = await syslogReceiver();
    const sink = sinkTo(port, ca);
    await sink.deliver(items, never);
    await sink.deliver(items, never);
    await expect.poll(() => messages.length).toBe(4);
    expect(sockets).toHaveLength(1);
    const [first] = sockets;
    const gone = new Promise((resolve) => first?.once('close', resolve));
    first?.end();
    await gone;
    await expect
      .poll(async () => {
        await sink.deliver(items, never).catch(() => undefined);
        return sockets.length;
      })
      .toBe(2);
    await expect.poll(() => messages.length).toBeGreaterThan(5);
  });

  it('with a certificate of somebody else gets nothing', async () => {
    const { port, messages } = await syslogReceiver();
    await expectAppError(
      sinkTo(port).deliver(items, never),
      'unavailable',
      /^The syslog receiver cannot be written: (DEPTH_ZERO_)?SELF_SIGNED/,
    );
    expect(messages).toEqual([]);
  });

  it('that nobody listens to, or that never finishes, is said', async () => {
    await expectAppError(
      sinkTo(1).deliver(items, never),
      'unavailable',
      'The syslog receiver cannot be written: ECONNREFUSED.',
    );
    const { port, ca } = await syslogReceiver();
    await expectAppError(sinkTo(port, ca).deliver(items, AbortSignal.abort()), 'unavailable', /ABORT/i);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toCef } from '../../../../src/control/ledger/sinks/cef.ts';
import { toOtlp } from '../../../../src/control/ledger/sinks/otlp.ts';
import { toPlainJson } from '../../../../src/control/ledger/sinks/plain-json.ts';
import { toSplunk } from '../../../../src/control/ledger/sinks/splunk.ts';
import { toSyslog } from '../../../../src/control/ledger/sinks/syslog.ts';
import { completion, decision } from '../../../support/audit.ts';
import { everything, itemOf } from './events.ts';
import { parseCef, parseSyslog } from './parsers.ts';

const version = '1.2.3';
/** What a caller can put into a path, also what has a meaning in a format. */
const hostile = fc.string({
  unit: fc.constantFrom('a', '/', '|', '=', '\\', '"', ']', '[', '\n', '\r', ' ', '\0', '<', 'é', '😀', '\u2028'),
  maxLength: 40,
});

describe('CEF', () => {
  it('a denied call is one line with both identities and the rule', () => {
    const event = decision({ decision: 'deny', reason: 'deny-rule' });
    expect(toCef(itemOf(event), { version })).toBe(
      `CEF:0|Writ|Writ|1.2.3|mesh.call.deny|Call denied|6|rt=${event.time} externalId=sidecar-1/1/1 suser=${event.source} duser=${event.destination} ` +
        `dpt=8080 app=http requestMethod=GET dhost=orders.shop.mesh request=/orders/1 act=deny outcome=failure reason=deny-rule ` +
        `cs1Label=rule cs1=shop/orders@3#0 cs2Label=policyRevision cs2=3 cs4Label=call cs4=${event.call}`,
    );
  });

  it('whatever a caller sends stays in its field', () => {
    fc.assert(
      fc.property(hostile, hostile, hostile, (path, host, method) => {
        const line = toCef(itemOf(decision({ path, host, method })), { version });
        expect(line).not.toMatch(/[\r\n]/);
        const { header, extension } = parseCef(line);
        expect(header).toEqual(['CEF:0', 'Writ', 'Writ', version, 'mesh.call.allow', 'Call allowed', '3']);
        expect(extension.get('request') ?? '').toBe(path);
        expect(extension.get('dhost') ?? '').toBe(host);
        expect(extension.get('requestMethod') ?? '').toBe(method);
      }),
      { numRuns: 300, seed: 11 },
    );
  });

  it('one of everything can be read again', () => {
    for (const item of everything()) expect(parseCef(toCef(item, { version })).header).toHaveLength(7);
  });
});

describe('RFC 5424', () => {
  it('has priority, time, host, application, kind and structured data before the message', () => {
    const event = decision({ decision: 'deny' });
    const text = toSyslog(itemOf(event), 'the text', 'cp-1');
    expect(
      text.startsWith(`<108>1 ${new Date(event.time).toISOString()} cp-1 writ - mesh.call.deny [writ@32473 uid=`),
    ).toBe(true);
    expect(parseSyslog(text)).toMatchObject({ priority: 108, host: 'cp-1', message: 'the text' });
  });

  it('whatever stands in an event, the data can be read again', () => {
    fc.assert(
      fc.property(hostile, fc.string(), (text, host) => {
        const item = itemOf({ ...decision(), path: text });
        const event = { kind: 'admin', actor: text, outcome: 'done', time: 1 } as never;
        const { data, message } = parseSyslog(toSyslog({ ...item, event }, text, host));
        expect(data.get('actor')).toBe(text.replaceAll(/[\0\r\n]/g, ' '));
        expect(message).toBe(text);
      }),
      { numRuns: 300, seed: 12 },
    );
  });

  it('one of everything can be read again', () => {
    for (const item of everything())
      expect(parseSyslog(toSyslog(item, 'x', 'cp')).data.get('uid')).toBe('sidecar-1/1/1');
  });
});

describe('OTLP', () => {
  it('a decision is a record without a body: its name, times in nanoseconds, severity, trace, attributes', () => {
    const event = decision({ decision: 'deny', traceId: 'ab'.repeat(16), protocol: 'grpc', path: '/shop.Orders/Get' });
    const request = JSON.parse(toOtlp([itemOf(event)], { version, trustDomain: 'example.org' }));
    const [record] = request.resourceLogs[0].scopeLogs[0].logRecords;
    expect(record).toMatchObject({
      ...{ timeUnixNano: `${event.time}000000`, severityNumber: 13, eventName: 'mesh.authz.decision' },
      traceId: 'ab'.repeat(16),
    });
    expect(record).not.toHaveProperty('body');
    const attribute = (key: string) => record.attributes.find((each: { key: string }) => each.key === key)?.value;
    expect(attribute('rpc.service')).toEqual({ stringValue: 'shop.Orders' });
    expect(attribute('rpc.method')).toEqual({ stringValue: 'Get' });
    expect(attribute('mesh.source')).toEqual({ stringValue: event.source });
    expect(attribute('server.port')).toEqual({ intValue: '8080' });
    expect(attribute('mesh.event.id')).toEqual({ stringValue: 'sidecar-1.1.1' });
  });

  it('an end of a call has its status', () => {
    const text = toOtlp([itemOf(completion('c', { status: 404 }))], { version, trustDomain: 'example.org' });
    expect(text).toContain('{"key":"http.response.status_code","value":{"intValue":"404"}}');
  });
});

describe('JSON', () => {
  it('is the event as it was recorded, with its place', () => {
    const event = decision();
    expect(JSON.parse(toPlainJson(itemOf(event)))).toMatchObject({
      ...event,
      ...{ id: 'sidecar-1.1.1', time: new Date(event.time).toISOString(), recordedBy: event.destination },
      place: { sidecar: 'sidecar-1', epoch: 1, sequence: 1, leaf: 0, position: 0 },
    });
  });
});

describe('an event of HEC', () => {
  it('wraps JSON with its time in seconds and the uid as an indexed field', () => {
    const event = decision({ time: 1_767_225_600_123 });
    const text = toSplunk(itemOf(event), '{"a":1}', { host: 'cp', sourcetype: 'writ:json' });
    expect(JSON.parse(text)).toEqual({
      ...{ time: 1_767_225_600.123, host: 'cp', source: 'writ:audit', sourcetype: 'writ:json' },
      ...{ fields: { uid: 'sidecar-1/1/1', kind: 'decision' }, event: { a: 1 } },
    });
  });
});

import type { ServiceError } from '@grpc/grpc-js';
import { Metadata, status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { AppError, errorCodes } from '../../src/base/errors.ts';
import { errorTable, exitCode, fromServiceError, grpcStatus, problem } from '../../src/wire/errors.ts';
import { MAX_DETAILS_BYTES, toServiceError } from '../../src/wire/status.ts';

describe('errorTable', () => {
  it('has one row for each code, each with a failing status everywhere', () => {
    expect(Object.keys(errorTable).sort()).toEqual([...errorCodes].sort());
    for (const code of errorCodes) {
      const row = errorTable[code];
      expect(row.grpc, code).toBeGreaterThan(0);
      expect(row.http, code).toBeGreaterThanOrEqual(400);
      expect(row.http, code).toBeLessThan(600);
      expect([1, 2, 3, 4, 5], code).toContain(exitCode(code));
      expect(row.title, code).not.toBe('');
    }
  });

  it('uses the numbers of the gRPC library', () => {
    expect(grpcStatus).toEqual(Object.fromEntries(Object.entries(status).filter(([, v]) => typeof v === 'number')));
  });
});

describe('an AppError over gRPC', () => {
  it('arrives with the same code, message, findings and time to wait', () => {
    for (const code of errorCodes) {
      const sent = new AppError(code, `what, why, how (${code})`, {
        cause: new Error('secret'),
        details: [{ code: 'unknown-field', message: 'no field “frm”', line: 3, column: 7, pointer: '/spec/frm' }],
        retryAfterSeconds: 7,
      });
      const received = fromServiceError(toServiceError(sent));
      expect({ ...view(received) }).toEqual({ ...view(sent) });
    }
  });

  it('never carries the cause', () => {
    const sent = toServiceError(new AppError('unavailable', 'The store is away.', { cause: new Error('hunter2') }));
    expect(JSON.stringify([sent.details, sent.message, sent.stack, sent.metadata.toJSON()])).not.toContain('hunter2');
  });

  it('is internal, and tells nothing, for an unexpected failure', () => {
    const sent = toServiceError(new TypeError('hunter2'));
    expect(sent.code).toBe(status.INTERNAL);
    expect(sent.details).not.toContain('hunter2');
    expect(fromServiceError(sent).code).toBe('internal');
  });

  it('does not choke on half a surrogate pair, nor on a very long message', () => {
    const sent = toServiceError(new AppError('invalid', `${'a'.repeat(2047)}😀 and more`));
    expect(() => encodeURI(sent.details)).not.toThrow();
    expect(sent.details).toHaveLength(2048);
    expect(() => encodeURI(toServiceError(new AppError('invalid', 'bad \ud800 name')).details)).not.toThrow();
  });

  it('leaves out findings that do not fit the trailer', () => {
    const details = Array.from({ length: 1000 }, (_, i) => ({ code: 'x', message: `finding ${i} ${'ö'.repeat(40)}` }));
    const sent = toServiceError(new AppError('invalid-document', 'Many findings.', { details }));
    expect((sent.metadata.get('writ-details-bin')[0] as Buffer).length).toBeLessThanOrEqual(MAX_DETAILS_BYTES);
    const received = fromServiceError(sent).details;
    expect(received.length).toBeGreaterThan(10);
    expect(received).toEqual(details.slice(0, received.length));
  });
});

describe('fromServiceError', () => {
  it('maps a bare gRPC status', () => {
    expect(fromServiceError(bare(status.UNAVAILABLE)).code).toBe('unavailable');
    expect(fromServiceError(bare(status.DEADLINE_EXCEEDED)).code).toBe('deadline-exceeded');
    expect(fromServiceError(bare(status.UNAUTHENTICATED)).code).toBe('unauthenticated');
    expect(fromServiceError(bare(status.RESOURCE_EXHAUSTED)).code).toBe('exhausted');
    const tooLarge = Object.assign(bare(status.RESOURCE_EXHAUSTED), {
      details: 'Received message larger than max (5 vs 4)',
    });
    expect(fromServiceError(tooLarge).code).toBe('too-large');
    // A broken connection, not a defect that the control plane reported.
    expect(fromServiceError(bare(status.INTERNAL)).code).toBe('unavailable');
    expect(fromServiceError(bare(status.CANCELLED)).code).toBe('unavailable');
  });

  it('ignores a code that is not on the list, and trailers that do not parse', () => {
    const odd = bare(status.NOT_FOUND);
    odd.metadata.set('writ-code', 'root-access');
    expect(fromServiceError(odd).code).toBe('not-found');
    const broken = bare(status.NOT_FOUND);
    broken.metadata.set('writ-code', 'not-found');
    broken.metadata.set('writ-retry-after', 'soon');
    for (const text of ['{', '{"code":1}', '[{"code":1},null,{"code":"a"},{"code":"a","message":"b"}]']) {
      broken.metadata.set('writ-details-bin', Buffer.from(text));
      const error = fromServiceError(broken);
      expect(error.retryAfterSeconds).toBeUndefined();
      expect(error.details).toEqual(text.startsWith('[') ? [{ code: 'a', message: 'b' }] : []);
    }
  });
});

describe('problem', () => {
  it('is the RFC 9457 body, without the cause', () => {
    const error = new AppError('exhausted', 'Too many attempts. Try again later.', {
      cause: new Error('hunter2'),
      retryAfterSeconds: 2,
    });
    expect(problem(error)).toEqual({
      type: '/docs/errors#exhausted',
      title: 'Too many requests',
      status: 429,
      detail: 'Too many attempts. Try again later.',
      code: 'exhausted',
      retryAfter: 2,
    });
  });
});

function bare(code: status): ServiceError {
  return Object.assign(new Error('x'), { code, details: 'x', metadata: new Metadata() });
}

function view(error: AppError) {
  return { code: error.code, message: error.message, details: error.details, after: error.retryAfterSeconds };
}

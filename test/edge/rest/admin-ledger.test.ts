import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AdminEvent } from '../../../src/core/audit/admin-event.ts';
import { openAdminLedger } from '../../support/admin-ledger.ts';
import type { Fault } from '../../support/memory-files.ts';
import { ledgerEvents } from '../../support/shipping.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

type Ledger = Parameters<typeof ledgerEvents>[0];

async function recorded(ledger: Ledger): Promise<AdminEvent[]> {
  return (await ledgerEvents(ledger)).flatMap(({ event }) => (event.kind === 'admin' ? [event] : []));
}

describe('the record of administration, on a real ledger', () => {
  it('has each write in one batch with the sign-in that it came with, and in another how it ended', async () => {
    const { trail, ledger } = await openAdminLedger();
    const world = await createWorld({ deps: { trail } });
    await world.request({ method: 'POST', url: '/v1/entries', payload: { spiffeId: 'spiffe://example.org/x' } });
    expect(ledger.size.current).toBe(2);
    expect((await recorded(ledger)).map(({ action, outcome }) => [action, outcome])).toEqual([
      ['call', 'begun'],
      ['sign-in', 'done'],
      ['call', 'done'],
    ]);
  });

  it('is searched, shown in full and proved like everything on the record', async () => {
    const { trail, index, log, settle } = await openAdminLedger();
    const world = await createWorld({ deps: { trail, audit: index, log } });
    const put = { method: 'PUT' as const, url: '/v1/policies/shop/web', payload: policyText('web') };
    await world.request({ ...put, headers: { 'content-type': 'application/yaml' } });
    await settle();
    const { items } = (await world.request({ url: '/v1/audit/admin?permission=policies:*' })).json();
    expect(items).toEqual([expect.objectContaining({ operation: 'putPolicy', outcome: 'done', actor: 'admin' })]);
    const { id } = items[0];
    expect((await world.request({ url: `/v1/audit/admin/${id}` })).json()).toMatchObject({
      proof: { state: 'sealed' },
    });
    const proof = await world.request({ url: `/v1/audit/proofs/${id}` });
    expect(proof.payload).toMatch(/^c2sp\.org\/tlog-proof@v1\n/);
    const begun = (await world.request({ url: '/v1/audit/admin?outcome=begun' })).json().items;
    expect(begun).toEqual([expect.objectContaining({ request: items[0].request, settled: true })]);
  });

  it('is read by the search of itself, which is on it too', async () => {
    const { trail, index, settle } = await openAdminLedger();
    const world = await createWorld({ deps: { trail, audit: index } });
    await world.request({ url: '/v1/audit/admin?actor=ann' });
    await settle();
    const { items } = (await world.request({ url: '/v1/audit/admin?operation=searchAdminAudit' })).json();
    expect(items).toEqual([expect.objectContaining({ query: 'actor=ann', permission: 'audit:read' })]);
  });

  it('never lacks a write that was carried out, nor says of one that it is done that is not, wherever the disk fails', async () => {
    const fault = fc.constantFrom<Fault>('pass', 'pass', 'pass', 'fail', 'fail-done');
    await fc.assert(
      fc.asyncProperty(fc.array(fault, { minLength: 4, maxLength: 14 }), async (faults) => {
        const { trail, ledger, files, clock } = await openAdminLedger();
        const world = await createWorld({ deps: { trail } });
        const left = [...faults];
        files.hook = ({ operation }) => (operation === 'sync' ? (left.shift() ?? 'pass') : 'pass');
        const writes: { readonly name: string; readonly status: number; readonly request: unknown }[] = [];
        for (const name of ['p0', 'p1', 'p2', 'p3']) {
          const response = await world.request({
            method: 'PUT',
            url: `/v1/policies/shop/${name}`,
            payload: policyText(name),
            headers: { 'content-type': 'application/yaml' },
          });
          if (response.statusCode !== 201) expectProblem(response, 503, 'audit-unavailable');
          writes.push({ name, status: response.statusCode, request: response.headers['x-request-id'] });
        }
        files.hook = () => 'pass';
        const { items } = (await world.request({ url: '/v1/policies' })).json();
        const stored = items.map((item: { metadata: { name: string } }) => item.metadata.name);
        const outcomes = async (request: unknown) =>
          (await recorded(ledger)).filter((event) => event.request === request).map(({ outcome }) => outcome);
        for (const { name, status, request } of writes) {
          // Nothing is there whose beginning was not on the record, and nothing was answered whose end was not.
          if (stored.includes(name)) expect(await outcomes(request)).toContain('begun');
          else expect(await outcomes(request)).not.toContain('done');
          if (status === 201) expect(await outcomes(request)).toEqual(['begun', 'done']);
        }
        await clock.advance(120_000);
        for (const { name, request } of writes)
          if (stored.includes(name)) expect(await outcomes(request)).toEqual(['begun', 'done']);
      }),
      { numRuns: 6, seed: 5 },
    );
  });
});

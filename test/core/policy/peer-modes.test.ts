import { expect, test } from 'vitest';
import { readDocuments } from '../../../src/core/policy/parse.ts';
import type { PeerAuthentication, PeerMode } from '../../../src/core/policy/peer-authentication.ts';
import { modeOfPort, peerModesFor } from '../../../src/core/policy/peer-modes.ts';
import { requestAuthenticationsFor } from '../../../src/core/policy/request-rules.ts';
import { authentication, EndUsers } from '../../support/end-users.ts';

const ROOT = 'writ-system';
const web = { namespace: 'shop', labels: { app: 'web' } };

function peer(o: Partial<PeerAuthentication> & { ports?: ReadonlyMap<number, PeerMode> }): PeerAuthentication {
  return { namespace: 'shop', name: 'p', revision: 1, selector: {}, ports: new Map(), ...o };
}

const modeFor = (...all: PeerAuthentication[]) => peerModesFor(web, all, ROOT).mode;

test('rule 51, with our difference: STRICT where nobody says anything else', () => {
  expect(peerModesFor(web, [], ROOT)).toEqual({ mode: 'STRICT', ports: new Map() });
  expect(modeFor(peer({}), peer({ namespace: ROOT }))).toBe('STRICT');
});

test('rule 51: the workload goes before its namespace, and that before the mesh; what is unset is inherited', () => {
  const mesh = peer({ namespace: ROOT, mode: 'PERMISSIVE' });
  const namespace = peer({ mode: 'STRICT' });
  const own = peer({ selector: { app: 'web' }, mode: 'PERMISSIVE' });
  const unset = peer({ selector: { app: 'web' } });
  expect(modeFor(mesh)).toBe('PERMISSIVE');
  expect(modeFor(mesh, namespace)).toBe('STRICT');
  expect(modeFor(own, mesh, namespace)).toBe('PERMISSIVE');
  expect(modeFor(unset, namespace, mesh)).toBe('STRICT');
  expect(modeFor(unset, mesh)).toBe('PERMISSIVE');
  expect(modeFor(unset, peer({}), mesh)).toBe('PERMISSIVE');
});

test('rule 51: other namespaces and other labels do not matter', () => {
  expect(modeFor(peer({ namespace: 'bank', mode: 'PERMISSIVE' }))).toBe('STRICT');
  expect(modeFor(peer({ selector: { app: 'orders' }, mode: 'PERMISSIVE' }))).toBe('STRICT');
  expect(modeFor(peer({ selector: { app: 'web', tier: 'x' }, mode: 'PERMISSIVE' }))).toBe('STRICT');
});

test('rule 51: of several in one scope the oldest counts, whatever their order', () => {
  const older = peer({ name: 'a', revision: 3, mode: 'PERMISSIVE' });
  const newer = peer({ name: 'b', revision: 4, mode: 'STRICT' });
  expect(modeFor(older, newer)).toBe('PERMISSIVE');
  expect(modeFor(newer, older)).toBe('PERMISSIVE');
});

test('rule 51: one with a selector in the root namespace counts for nobody', () => {
  const selected = peer({ namespace: ROOT, selector: { app: 'web' }, mode: 'PERMISSIVE' });
  expect(modeFor(selected)).toBe('STRICT');
  expect(peerModesFor({ ...web, namespace: ROOT }, [selected], ROOT).mode).toBe('STRICT');
});

test('rule 51: ports are those of the workload, and only what differs is kept', () => {
  const ports = new Map<number, PeerMode>([
    [9090, 'PERMISSIVE'],
    [8080, 'STRICT'],
  ]);
  const modes = peerModesFor(web, [peer({ selector: { app: 'web' }, ports })], ROOT);
  expect([...modes.ports]).toEqual([[9090, 'PERMISSIVE']]);
  expect([modeOfPort(modes, 9090), modeOfPort(modes, 8080), modeOfPort(modes, 1)]).toEqual([
    'PERMISSIVE',
    'STRICT',
    'STRICT',
  ]);
  expect(peerModesFor(web, [peer({ ports })], ROOT).ports.size).toBe(0);
});

test('rule 51, with our difference: DISABLE is read as PERMISSIVE, and both are said to let plain text in', () => {
  const text = (mode: string) =>
    `apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec: {mtls: {mode: ${mode}}}\n`;
  const read = (mode: string) => {
    const { documents, errors, warnings } = readDocuments(text(mode));
    const [document] = documents;
    return [document?.object, errors, warnings.map(({ code }) => code)];
  };
  const object = { namespace: 'shop', name: 'p', revision: 0, selector: {}, ports: new Map() };
  expect(read('DISABLE')).toEqual([{ ...object, mode: 'PERMISSIVE' }, [], ['mtls-not-disabled', 'plain-text']]);
  expect(read('PERMISSIVE')).toEqual([{ ...object, mode: 'PERMISSIVE' }, [], ['plain-text']]);
  expect(read('STRICT')).toEqual([{ ...object, mode: 'STRICT' }, [], []]);
  expect(read('UNSET')).toEqual([object, [], []]);
});

test('rule 51: as kubectl prints it, and as people write it, ports are read alike', () => {
  const text = (key: string) => `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  creationTimestamp: "2026-01-01T00:00:00Z"
  generation: 1
  name: p
  namespace: shop
  resourceVersion: "123"
  uid: 11111111-2222-3333-4444-555555555555
spec:
  mtls:
    mode: UNSET
  portLevelMtls:
    ${key}:
      mode: PERMISSIVE
  selector:
    matchLabels:
      app: web
`;
  for (const key of ['8080', '"8080"']) {
    expect(readDocuments(text(key)).documents).toMatchObject([{ object: { ports: new Map([[8080, 'PERMISSIVE']]) } }]);
  }
});

test('rule 49: all request authentications that select a workload hold together', () => {
  const users = new EndUsers();
  const one = (o: object) => ({ ...authentication(users.rule()), ...o });
  const all = [
    one({ name: 'z' }),
    one({ namespace: ROOT, name: 'all' }),
    one({ name: 'a', selector: { app: 'web' } }),
    one({ name: 'b', selector: { app: 'orders' } }),
    one({ namespace: 'bank', name: 'c' }),
    one({ name: 'none', rules: [] }),
  ];
  expect(requestAuthenticationsFor(web, all, ROOT).map(({ namespace, name }) => `${namespace}/${name}`)).toEqual([
    'shop/a',
    'shop/z',
    'writ-system/all',
  ]);
});

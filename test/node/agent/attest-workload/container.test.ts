import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { containerOf } from '../../../../src/node/agent/attest-workload/container.ts';
import { parseCgroups } from '../../../../src/node/agent/attest-workload/proc-formats.ts';
import { systemdAttestor, unitOf } from '../../../../src/node/agent/attest-workload/systemd.ts';
import { expectAppError } from '../../../support/errors.ts';
import { everything, processIn } from './proc.ts';

const ID = 'a1b2c3d4'.repeat(8);
const OTHER = 'f'.repeat(64);
const POD = '2c48913c-b29f-11e7-9350-020968147796';
const POD_ = POD.replaceAll('-', '_');

const find = (text: string) => containerOf(parseCgroups(text));

describe('the container of a process', () => {
  it.each([
    ['Docker, cgroup v1', `11:memory:/docker/${ID}\n10:cpu:/docker/${ID}\n1:name=systemd:/docker/${ID}\n`, undefined],
    ['Docker, systemd driver', `0::/system.slice/docker-${ID}.scope\n`, undefined],
    ['Docker, own parent', `0::/my.slice/docker-${ID}.scope\n`, undefined],
    ['Podman, as root', `0::/machine.slice/libpod-${ID}.scope/container\n`, undefined],
    ['Kubernetes, cgroupfs', `0::/kubepods/burstable/pod${POD}/${ID}\n`, POD],
    ['Kubernetes, cgroupfs v1', `4:memory:/kubepods/pod${POD}/${ID}\n0::/\n`, POD],
    [
      'containerd',
      `0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${POD_}.slice/cri-containerd-${ID}.scope\n`,
      POD,
    ],
    ['CRI-O', `0::/kubepods.slice/kubepods-pod${POD_}.slice/crio-${ID}.scope\n`, POD],
    [
      'containerd, drivers mixed',
      `0::/system.slice/containerd.service/kubepods-burstable-pod${POD_}.slice:cri-containerd:${ID}\n`,
      POD,
    ],
    [
      'seen from another cgroup namespace',
      `0::/../../kubepods-besteffort-pod${POD_}.slice/cri-containerd-${ID}.scope\n`,
      POD,
    ],
    ['static pod', `0::/kubepods/burstable/pod${'0'.repeat(32)}/${ID}\n`, '0'.repeat(32)],
  ])('%s', (_, text, podUid) => {
    expect(find(text)).toEqual({ containerId: ID, podUid });
  });

  it.each([
    ['a service', '0::/system.slice/nginx.service\n'],
    ['the root', '0::/\n'],
    ['a session', '0::/user.slice/user-1000.slice/session-3.scope\n'],
    ['the monitor of CRI-O', `0::/kubepods.slice/kubepods-pod${POD_}.slice/crio-conmon-${ID}.scope\n`],
    ['an id that is too short', `0::/docker/${ID.slice(1)}\n`],
    ['an id in upper case', `0::/docker/${ID.toUpperCase()}\n`],
    ['an id with something behind it', `0::/docker/${ID}x\n`],
  ])('there is none: %s', (_, text) => {
    expect(find(text)).toBeUndefined();
  });

  it('is not what a user names a cgroup of his own systemd', () => {
    expect(find(`0::/user.slice/user-1000.slice/user@1000.service/docker-${ID}.scope\n`)).toBeUndefined();
    expect(
      find(`0::/user.slice/user-1000.slice/user@1000.service/app.slice/kubepods/pod${POD}/${ID}\n`),
    ).toBeUndefined();
    expect(find(`0::/user.slice/user-1000.slice/docker-${ID}.scope\n`)).toBeUndefined();
  });

  it('is not what a service or another container names a cgroup that systemd has delegated to it', () => {
    expect(find(`0::/system.slice/ci-runner.service/${ID}\n`)).toBeUndefined();
    expect(find(`0::/system.slice/ci-runner.service/kubepods/pod${POD}/${ID}\n`)).toBeUndefined();
    expect(find(`0::/system.slice/ci-runner.service/x.slice:cri-containerd:${ID}\n`)).toBeUndefined();
    expect(find(`0::/machine.slice/systemd-nspawn@a.service/payload/docker-${ID}.scope\n`)).toBeUndefined();
    expect(find(`0::/machine.slice/machine-a.scope/docker/${ID}\n`)).toBeUndefined();
    expect(find(`0::/lxc.payload.a/docker/${ID}\n`)).toBeUndefined();
    expect(find(`4:memory:/lxc/a/docker/${ID}\n`)).toBeUndefined();
  });

  it('is the outermost: a container that makes cgroups cannot pass for another', () => {
    expect(find(`0::/docker/${ID}/docker/${OTHER}\n`)).toEqual({ containerId: ID, podUid: undefined });
    expect(find(`0::/kubepods/pod${POD}/${ID}/kubepods/pod${POD.replace('2', '3')}/${OTHER}\n`)).toEqual({
      containerId: ID,
      podUid: POD,
    });
  });

  it('is refused when hierarchies name different ones', async () => {
    await expectAppError(
      () => find(`2:cpu:/docker/${ID}\n1:memory:/docker/${OTHER}\n`),
      'forbidden',
      /several containers/,
    );
  });

  it('fuzz: any path names a container or none', () => {
    const part = fc.oneof(
      fc.string({ maxLength: 20 }).filter((text) => !/[\n/]/.test(text)),
      fc.constantFrom(
        ID,
        `docker-${ID}.scope`,
        `pod${POD}`,
        '..',
        'user@1.service',
        'kubepods.slice',
        `x:cri-containerd:${ID}`,
      ),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        const found = find(`0::/${parts.join('/')}\n`);
        if (found !== undefined) {
          expect(found.containerId).toMatch(/^[0-9a-f]{64}$/);
          expect(parts.join('/')).toContain(found.containerId);
        }
        unitOf(parseCgroups(`0::/${parts.join('/')}\n`));
      }),
      { numRuns: 500 },
    );
  });
});

describe('the systemd unit of a process', () => {
  const unit = (text: string) => unitOf(parseCgroups(text));

  it.each([
    ['0::/system.slice/nginx.service\n', 'nginx.service'],
    ['0::/system.slice/system-getty.slice/getty@tty1.service\n', 'getty@tty1.service'],
    ['0::/system.slice/dbus-org\\x2dfoo.service\n', 'dbus-org\\x2dfoo.service'],
    ['0::/init.scope\n', 'init.scope'],
    ['0::/user.slice/user-1000.slice/session-3.scope\n', 'session-3.scope'],
    ['5:cpu:/\n1:name=systemd:/system.slice/cron.service\n0::/\n', 'cron.service'],
    ['1:name=systemd:/\n0::/system.slice/a.service\n', 'a.service'],
    ['0::/system.slice/_a.service\n', 'a.service'],
  ])('%j is %s', (text, expected) => {
    expect(unit(text)).toBe(expected);
  });

  it('is that of systemd itself, not what a unit or a user makes below', () => {
    expect(unit('0::/system.slice/a.service/b.service\n')).toBe('a.service');
    expect(unit('0::/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service\n')).toBe(
      'user@1000.service',
    );
  });

  it.each([
    '0::/\n',
    '',
    '0::/docker/x\n',
    '0::/../nginx.service\n',
    '0::/system.slice\n',
    `0::/system.slice/${'a'.repeat(250)}.service\n`,
    '0::/system.slice/a b.service\n',
  ])('there is none in %j', (text) => {
    expect(unit(text)).toBeUndefined();
  });

  it('becomes the selector systemd:id', async () => {
    expect(await systemdAttestor.attest(processIn('0::/system.slice/nginx.service\n'), everything)).toEqual([
      'systemd:id:nginx.service',
    ]);
    expect(await systemdAttestor.attest(processIn('0::/\n'), everything)).toEqual([]);
  });
});

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface DeviceOptions {
  /** Default P-256. */
  readonly key?: readonly string[];
  readonly subject?: string;
  readonly days?: number;
  /** Lines of an extensions section. Default: a machine that may sign. */
  readonly extensions?: readonly string[];
}

export interface Device {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly der: Buffer;
  readonly pem: string;
}

const machine = ['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature'];
const authority = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'];

/** Certificates of machines, as somebody else's authority makes them: by `openssl`, in a directory of the test's own. */
export class DeviceAuthority {
  readonly #directory: string;
  readonly root: Device;
  #made = 0;

  constructor(directory: string, o: { readonly extensions?: readonly string[]; readonly days?: number } = {}) {
    this.#directory = directory;
    this.root = this.#make(undefined, {
      subject: '/O=Devices/CN=device root',
      days: o.days ?? 3650,
      extensions: o.extensions ?? authority,
    });
  }

  /** Below the root, or below one of `intermediate`. */
  issue(o: DeviceOptions = {}, issuer: Device = this.root): Device {
    return this.#make(issuer, { extensions: machine, subject: '/O=Devices/CN=machine-1', ...o });
  }

  intermediate(o: DeviceOptions = {}, issuer: Device = this.root): Device {
    return this.#make(issuer, { extensions: authority, subject: '/O=Devices/CN=device intermediate', ...o });
  }

  #make(issuer: Device | undefined, o: DeviceOptions): Device {
    const name = `device-${this.#made++}`;
    const at = (suffix: string) => join(this.#directory, `${name}.${suffix}`);
    const keyFile = at('key');
    const key = o.key ?? ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    run(['genpkey', ...key, '-out', keyFile]);
    run(['req', '-new', '-key', keyFile, '-subj', o.subject ?? '/CN=x', '-out', at('csr')]);
    writeFileSync(at('ext'), [...(o.extensions ?? []), 'subjectKeyIdentifier=hash', ''].join('\n'));
    const signer = issuer === undefined ? ['-key', keyFile] : ['-CA', issuer.certificateFile, '-CAkey', issuer.keyFile];
    const validity = ['-days', String(o.days ?? 30)];
    run(['x509', '-req', '-in', at('csr'), ...signer, ...validity, '-extfile', at('ext'), '-out', at('crt')]);
    const pem = readFileSync(at('crt'), 'utf8');
    const der = Buffer.from(pem.replace(/-----[A-Z ]+-----/g, ''), 'base64');
    return { certificateFile: at('crt'), keyFile, der, pem };
  }
}

function run(args: readonly string[]): void {
  execFileSync('openssl', [...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { loadPackageDefinition, Server, ServerCredentials } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { loadSync } from '@grpc/proto-loader';
import { onTestFinished } from 'vitest';
import type { ExternalAuthorizer } from '../../../src/core/policy/snapshot.ts';
import type { WebCertificate } from '../../support/web-certificate.ts';

/** An external authorizer as others write them: with Envoy's own, complete definitions, not with Writ's. */

/** As it arrives, defaults filled in. */
export interface Question {
  readonly attributes: {
    readonly source: Peer;
    readonly destination: Peer;
    readonly request: {
      readonly time: { readonly seconds: string };
      readonly http: {
        readonly id: string;
        readonly method: string;
        readonly headers: Readonly<Record<string, string>>;
        readonly path: string;
        readonly host: string;
        readonly size: string;
      } | null;
    };
    readonly tlsSession: { readonly sni: string } | null;
  };
}

interface Peer {
  readonly principal: string;
  readonly address: { readonly socketAddress: { readonly address: string; readonly portValue: number } } | null;
}

export type Answer = object | Promise<object>;

export interface TestAuthorizer {
  readonly authorizer: ExternalAuthorizer;
  readonly questions: readonly Question[];
  /** What it answers from now on. */
  answer: (question: Question) => Answer;
}

export const agreed = { status: { code: 0 } };

export function agreesWith(okResponse: object): object {
  return { ...agreed, okResponse };
}

export function objects(deniedResponse: object): object {
  return { status: { code: 7 }, deniedResponse };
}

export async function startAuthorizer(
  o: { readonly name?: string; readonly tls?: WebCertificate; readonly timeoutMs?: number } = {},
): Promise<TestAuthorizer> {
  const questions: Question[] = [];
  const server = new Server();
  const credentials =
    o.tls === undefined
      ? ServerCredentials.createInsecure()
      : ServerCredentials.createSsl(null, [
          { cert_chain: Buffer.from(o.tls.cert), private_key: Buffer.from(o.tls.key) },
        ]);
  server.addService(service, {
    Check: (call: { readonly request: Question }, done: (error: Error | null, answer?: object) => void) => {
      questions.push(call.request);
      Promise.resolve()
        .then(() => test.answer(call.request))
        .then(
          (answer) => done(null, answer),
          (error: Error) => done(error),
        );
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  onTestFinished(() => server.forceShutdown());
  const authorizer = {
    name: o.name ?? 'opa',
    address: `127.0.0.1:${port}`,
    timeoutMs: o.timeoutMs ?? 5_000,
    maxBodyBytes: 0,
    ...(o.tls !== undefined && { ca: o.tls.cert }),
  };
  const test: TestAuthorizer = { authorizer, questions, answer: () => agreed };
  return test;
}

const service = (() => {
  const deps = join(dirname(createRequire(import.meta.url).resolve('@grpc/grpc-js-xds/package.json')), 'deps');
  const definitions: PackageDefinition = loadSync('envoy/service/auth/v3/external_auth.proto', {
    includeDirs: ['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'].map((name) => join(deps, name)),
    longs: String,
    defaults: true,
    oneofs: true,
  });
  const { envoy } = loadPackageDefinition(definitions) as unknown as {
    envoy: { service: { auth: { v3: { Authorization: { service: Parameters<Server['addService']>[0] } } } } };
  };
  return envoy.service.auth.v3.Authorization.service;
})();

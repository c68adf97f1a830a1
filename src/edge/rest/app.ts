import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import { fastify, LogController } from 'fastify';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { uuidv7 } from '../../base/random.ts';
import type { Administrator } from '../../control/access/tokens.ts';
import { BODY_LIMIT_BYTES, keepConnection } from './body.ts';
import { setHeaders } from './headers.ts';
import { refuseRawRequest, sendProblem } from './problem.ts';
import { readQuery } from './query.ts';

export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks: the name of the token that was presented; null on a public route. */
    caller: string | null;
    /** The same, with role and token. */
    administrator: Administrator | null;
  }
  interface FastifyContextConfig {
    /** Reachable without a token. Default: not. */
    readonly public?: boolean;
    /** Changes nothing although its method says so: not logged as an admin write. */
    readonly readOnly?: boolean;
  }
}

export interface AppDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
}

/**
 * A fastify instance without routes, with the habits that all of them share: every error is problem+json, nothing is
 * coerced but query strings, unknown fields and parameters are refused, bodies are JSON of at most 1 MiB.
 */
export function createApp(deps: AppDeps): App {
  const app = fastify({
    loggerInstance: deps.logger as FastifyBaseLogger,
    // Reads are not logged, writes are (writes.ts): the access log would hold query strings with identities.
    logController: new LogController({ disableRequestLogging: true }),
    // Drawn here, never taken from the caller: it goes into logs.
    genReqId: () => uuidv7(deps.clock, deps.random),
    requestIdHeader: false,
    bodyLimit: BODY_LIMIT_BYTES,
    // From the first byte to the last byte of the request; a response (a live tail) may take as long as it likes.
    requestTimeout: 30_000,
    keepAliveTimeout: 30_000,
    // Node looks for what is overdue at this interval.
    http: { headersTimeout: 10_000, maxHeaderSize: 16 * 1024, connectionsCheckingInterval: 5_000 },
    routerOptions: { maxParamLength: 512 },
    // Its answer would not be problem+json; guard.ts answers instead.
    return503OnClosing: false,
    ajv: {
      customOptions: {
        allErrors: true,
        removeAdditional: false,
        coerceTypes: false,
        useDefaults: false,
        allowUnionTypes: true,
        // The keyword and value of a failed schema would name internals at most; the data would be the caller's own.
        verbose: false,
      },
    },
    frameworkErrors: (error, request, reply) => {
      setHeaders(request, reply);
      return sendProblem(error, request, reply);
    },
    clientErrorHandler: refuseRawRequest,
  }).withTypeProvider<TypeBoxTypeProvider>();
  // Schemas of responses are documentation and are checked by tests; a serialiser made from them would drop fields silently.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.removeContentTypeParser('text/plain');
  app.decorateRequest('caller', null);
  app.decorateRequest('administrator', null);
  app.addHook('preValidation', readQuery);
  app.setErrorHandler(async (error, request, reply) => {
    await keepConnection(error, request, reply);
    return sendProblem(error, request, reply);
  });
  return app;
}

import type { ServiceDefinition } from '@grpc/grpc-js';
import { AppError, toAppError } from '../../../base/errors.ts';
import { verifyJwtSvid } from '../../../core/identity/jwt-svid.ts';
import { parseSpiffeId } from '../../../core/identity/spiffe-id.ts';
import type { Grant } from '../../../core/identity/workload-entry.ts';
import type { SpiffeWorkloadAPIHandlers } from '../../../wire/gen/SpiffeWorkloadAPI.ts';
import {
  encodeJwtBundles,
  encodeJwtSvids,
  encodeValidated,
  encodeWitBundles,
  encodeWitSvids,
  encodeX509Bundles,
  encodeX509Svids,
  fromJwtSvidRequest,
  fromValidateRequest,
  fromWitSvidRequest,
  workloadApiService,
} from '../../../wire/workload-api.ts';
import type { AgentService, AgentServiceContext, AttestedCaller } from './caller.ts';
import { Denials } from './denials.ts';
import type { Pushing } from './workload-calls.ts';
import { streaming, unary } from './workload-calls.ts';
import type { Entitlement, Holding } from './workload-view.ts';
import { entitlementOf, isTemporary, WorkloadView } from './workload-view.ts';

/** How long a first message may take before the caller is told why there is none, in milliseconds. */
const FIRST_MESSAGE_MS = 5_000;
/** When a WIT-SVID could not be had, it is tried again after this time. */
const WIT_RETRY_MS = 5_000;
/** Claims of a foreign token that are passed on: those that the standards define, none that another domain made up. */
const foreignClaims: readonly string[] = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti'];

/**
 * The SPIFFE Workload API (SPIFFE_Workload_API.md), all three profiles, complete and not extended (§2).
 *
 * The CRL fields are never filled: SVIDs are short-lived. The Broker API of the same family of standards is not served.
 */
export function workloadApi(context: AgentServiceContext): AgentService {
  const denials = new Denials(context);
  const handlers: SpiffeWorkloadAPIHandlers = {
    FetchX509SVID: streaming(context, (_, pushing) => pushX509Svids(context, denials, pushing)),
    FetchX509Bundles: streaming(context, (_, pushing) => pushBundles(context, denials, pushing, encodeX509Bundles)),
    FetchJWTBundles: streaming(context, (_, pushing) => pushBundles(context, denials, pushing, encodeJwtBundles)),
    FetchWITBundles: streaming(context, (_, pushing) => pushBundles(context, denials, pushing, encodeWitBundles)),
    FetchWITSVID: streaming(context, (request, pushing) =>
      pushWitSvids(context, denials, pushing, fromWitSvidRequest(request).spiffeId),
    ),
    FetchJWTSVID: unary(context, async (request, caller) => {
      const { audience, spiffeId } = fromJwtSvidRequest(request);
      const { grants } = entitled(context, denials, caller);
      const issued = await issue(chosen(grants, spiffeId), (grant) => context.identities.jwt(grant, audience));
      return encodeJwtSvids(issued.map(([grant, { token }]) => ({ ...named(grant), token })));
    }),
    ValidateJWTSVID: unary(context, async (request, caller) => {
      const { audience, token } = fromValidateRequest(request);
      return validate(context, entitled(context, denials, caller), audience, token);
    }),
  };
  return { definition: workloadApiService as unknown as ServiceDefinition, handlers };
}

/** Ends with PermissionDenied when the last identity is gone, which is also what tells the caller to stop using it (§5.2.1). */
async function pushX509Svids(context: AgentServiceContext, denials: Denials, pushing: Pushing): Promise<void> {
  const view = new WorkloadView({ ...context, selectors: pushing.caller.selectors, x509: true });
  const unsent = new Parts();
  let begun = false;
  let late = false;
  const cancel = context.clock.after(FIRST_MESSAGE_MS, () => {
    late = true;
    view.touch();
  });
  try {
    for (;;) {
      pushing.signal.throwIfAborted();
      const entitlement = view.current();
      if (entitlement === 'none') throw denials.denied(pushing.caller);
      const ready =
        entitlement === 'starting' ? starting(late) : readyToSend(view.holdings(entitlement), { begun, late });
      if (ready !== undefined && entitlement !== 'starting') {
        const { bundle, federated } = entitlement;
        const identities = ready.map(({ grant, svid }) => ({ ...named(grant), ...svid, spiffeId: grant.spiffeId }));
        const parts = [bundle, ...federated, ...ready.flatMap(({ grant, svid }) => [svid, grant.entry.hint])];
        if (unsent.isNew(parts)) await pushing.send(encodeX509Svids({ identities, bundle, federated }));
        begun = true;
      }
      await view.changed(pushing.signal);
    }
  } finally {
    cancel();
    view.close();
  }
}

type Ready = Holding & { readonly svid: NonNullable<Holding['svid']> };

/**
 * What can be sent now; undefined to wait. The first message waits for every identity that is about to be signed. After
 * that, and when one cannot be signed for now, the others are sent without it, but never so that another identity becomes
 * the default, which is the first (§8), only because it could be signed sooner.
 *
 * @throws AppError when the first message would have to be without any
 */
function readyToSend(
  holdings: readonly Holding[],
  o: { readonly begun: boolean; readonly late: boolean },
): readonly Ready[] | undefined {
  const ready = holdings.filter((each): each is Ready => each.svid !== undefined);
  if (o.begun) return ready.length === 0 ? undefined : ready;
  const hopeful = holdings.filter(({ svid, failure }) => svid !== undefined || !failure || isTemporary(failure));
  const [first] = hopeful;
  if (first === undefined) {
    const cause = holdings[0]?.failure;
    throw new AppError('forbidden', `No identity could be issued. ${cause?.message ?? ''}`.trim(), { cause });
  }
  const undecided = hopeful.some(({ svid, failure }) => svid === undefined && failure === undefined);
  if (undecided && !o.late) return undefined;
  if (first.svid !== undefined) return ready;
  if (!o.late) return undefined;
  throw new AppError('unavailable', `The identity is not signed yet. ${first.failure?.message ?? ''}`.trim(), {
    cause: first.failure,
  });
}

/** Bundles of the own trust domain, and of those that an identity of the caller federates with; each by itself (§4.6). */
async function pushBundles(
  context: AgentServiceContext,
  denials: Denials,
  pushing: Pushing,
  encode: typeof encodeX509Bundles,
): Promise<void> {
  const view = new WorkloadView({ ...context, selectors: pushing.caller.selectors, x509: false });
  const unsent = new Parts();
  let late = false;
  const cancel = context.clock.after(FIRST_MESSAGE_MS, () => {
    late = true;
    view.touch();
  });
  try {
    for (;;) {
      pushing.signal.throwIfAborted();
      const entitlement = view.current();
      if (entitlement === 'none') throw denials.denied(pushing.caller);
      if (entitlement === 'starting') starting(late);
      else {
        const bundles = [entitlement.bundle, ...entitlement.federated];
        if (unsent.isNew(bundles)) await pushing.send(encode(bundles));
      }
      await view.changed(pushing.signal);
    }
  } finally {
    cancel();
    view.close();
  }
}

/** As `pushX509Svids`; tokens are not leased, so each time one is due, all are asked for again. */
async function pushWitSvids(
  context: AgentServiceContext,
  denials: Denials,
  pushing: Pushing,
  spiffeId: string | undefined,
): Promise<void> {
  const { clock, identities } = context;
  const view = new WorkloadView({ ...context, selectors: pushing.caller.selectors, x509: false });
  let begun = false;
  let cancel: () => void = () => undefined;
  try {
    for (;;) {
      pushing.signal.throwIfAborted();
      const entitlement = view.current();
      if (entitlement === 'none') throw denials.denied(pushing.caller);
      if (entitlement === 'starting') starting(true);
      else {
        let dueMs = WIT_RETRY_MS;
        try {
          const issued = await issue(chosen(entitlement.grants, spiffeId), (grant) => identities.wit(grant));
          await pushing.send(encodeWitSvids(issued.map(([grant, wit]) => ({ ...named(grant), ...wit }))));
          begun = true;
          // At half of its life there is a new one.
          const soonest = Math.min(...issued.map(([, { expiresAt }]) => expiresAt));
          dueMs = Math.max((soonest - clock.now()) / 2, 1_000);
        } catch (error) {
          // What was sent stays good for a while.
          if (!begun || pushing.signal.aborted || !isTemporary(toAppError(error))) throw error;
        }
        cancel();
        cancel = clock.after(dueMs, () => view.touch());
      }
      await view.changed(pushing.signal);
    }
  } finally {
    cancel();
    view.close();
  }
}

/**
 * The bundle is that of the subject's own trust domain (§6.3): no bundle, no trust. What it says of itself is passed on, of
 * foreign domains only what the standards define.
 */
async function validate(
  context: AgentServiceContext,
  entitlement: Entitlement,
  audience: string,
  token: string,
): Promise<Buffer> {
  const bundles = [entitlement.bundle, ...entitlement.federated];
  const trustDomain = claimedTrustDomain(token);
  const bundle = bundles.find((each) => each.trustDomain === trustDomain) ?? entitlement.bundle;
  const { id, claims } = await verifyJwtSvid(token, { audiences: [audience], bundle, now: context.clock.now() });
  const own = id.trustDomain === entitlement.bundle.trustDomain;
  const passed = own
    ? claims
    : Object.fromEntries(Object.entries(claims).filter(([key]) => foreignClaims.includes(key)));
  return encodeValidated(id.uri, passed);
}

/** Chooses the bundle, nothing else: nothing is verified here. */
function claimedTrustDomain(token: string): string | undefined {
  try {
    const payload: unknown = JSON.parse(Buffer.from(token.split('.', 3)[1] ?? '', 'base64url').toString('utf8'));
    const sub = typeof payload === 'object' && payload !== null && 'sub' in payload ? payload.sub : undefined;
    return typeof sub === 'string' ? parseSpiffeId(sub).trustDomain : undefined;
  } catch {
    return undefined;
  }
}

function entitled(context: AgentServiceContext, denials: Denials, caller: AttestedCaller): Entitlement {
  const entitlement = entitlementOf(context.identities, caller.selectors);
  if (entitlement === 'none') throw denials.denied(caller);
  if (entitlement === 'starting') return starting(true);
  return entitlement;
}

/** The grants of this SPIFFE ID, or all. */
function chosen(grants: readonly Grant[], spiffeId: string | undefined): readonly Grant[] {
  const found = spiffeId === undefined ? grants : grants.filter((grant) => grant.spiffeId === spiffeId);
  if (found.length === 0) throw new AppError('forbidden', 'The caller may not have the SPIFFE ID that it asks for.');
  return found;
}

/**
 * For every grant, in their order. One that cannot be had for good is left out; when one cannot be had for now, the answer
 * is not given: the default identity must not be another one because of it.
 */
async function issue<T>(
  grants: readonly Grant[],
  ask: (grant: Grant) => Promise<T>,
): Promise<readonly (readonly [Grant, T])[]> {
  const results = await Promise.allSettled(grants.map(ask));
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [toAppError(result.reason)] : []));
  const temporary = failures.find(isTemporary);
  if (temporary !== undefined) throw temporary;
  const issued = results.flatMap((result, index) => {
    const grant = grants[index];
    return result.status === 'fulfilled' && grant !== undefined ? [[grant, result.value] as const] : [];
  });
  const [failure] = failures;
  if (issued.length === 0 && failure !== undefined) throw failure;
  return issued;
}

/**
 * What the last message was made of. Most changes concern others: a thousand streams should not each make a message to find
 * that it is the same as before.
 */
class Parts {
  #last: readonly unknown[] = [];

  isNew(parts: readonly unknown[]): boolean {
    const same = parts.length === this.#last.length && parts.every((part, index) => part === this.#last[index]);
    this.#last = parts;
    return !same;
  }
}

function named({ spiffeId, entry }: Grant) {
  return { spiffeId, hint: entry.hint };
}

function starting(late: boolean): undefined;
function starting(late: true): never;
function starting(late: boolean): undefined {
  if (late) throw new AppError('unavailable', 'The agent has not heard from the control plane yet. Try again.');
  return undefined;
}

import type { Finding } from '../../base/errors.ts';
import { AppError } from '../../base/errors.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { isReserved, parseSpiffeId, workloadOf } from '../../core/identity/spiffe-id.ts';

/** What an administrator says about an entry. */
export interface EntryInput {
  /** `spiffe://<own trust domain>/ns/<namespace>/sa/<service>`; namespace and service are DNS labels. */
  readonly spiffeId: string;
  /** What a workload must show to an agent to get this identity: `<type>:<value>`, at most 64. Default none. */
  readonly selectors?: readonly string[] | undefined;
  /** What policies select workloads by: Kubernetes syntax, at most 64. Default none. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Lifetime of its certificates, 60 to 86,400 seconds. Default (null): the authority's. */
  readonly x509TtlSeconds?: number | null | undefined;
  /** Lifetime of its JWTs, 30 to 3,600 seconds. Default (null): the authority's. */
  readonly jwtTtlSeconds?: number | null | undefined;
}

/** An `EntryInput` that has been checked. */
export interface EntrySpec {
  readonly id: SpiffeId;
  readonly namespace: string;
  readonly selectors: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly x509TtlSeconds: number | null;
  readonly jwtTtlSeconds: number | null;
}

const MAX_SELECTORS = 64;
const MAX_SELECTOR_CHARACTERS = 512;
const MAX_LABELS = 64;
const MAX_LABEL_PREFIX_CHARACTERS = 253;
const x509TtlRange = { min: 60, max: 86_400 };
const jwtTtlRange = { min: 30, max: 3_600 };

/** RFC 1123: names become parts of the host `<service>.<namespace>.mesh`, where a dot inside one would be ambiguous. */
const dnsLabel = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const dnsSubdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
const labelName = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const selector = /^[A-Za-z0-9_-]+:[^\p{Cc}]+$/u;

/** Checks an entry whole. Throws `invalid` with one detail for each thing that is wrong. */
export function checkEntryInput(input: EntryInput, trustDomain: string): EntrySpec {
  const findings: Finding[] = [];
  const refuse = (pointer: string, message: string) => findings.push({ code: 'invalid', pointer, message });

  const id = checkId(input.spiffeId, trustDomain, (message) => refuse('/spiffeId', message));
  checkSelectors(input.selectors ?? [], refuse);
  checkLabels(input.labels ?? {}, refuse);
  checkTtl(input.x509TtlSeconds, x509TtlRange, (message) => refuse('/x509TtlSeconds', message));
  checkTtl(input.jwtTtlSeconds, jwtTtlRange, (message) => refuse('/jwtTtlSeconds', message));

  if (id === undefined || findings.length > 0) {
    const what = findings.map((finding) => `${finding.pointer} ${finding.message}`).join('; ');
    throw new AppError('invalid', `The entry is not valid: ${what}.`, { details: findings });
  }
  return {
    id: id.id,
    namespace: id.namespace,
    selectors: Object.freeze([...(input.selectors ?? [])]),
    labels: Object.freeze({ ...input.labels }),
    x509TtlSeconds: input.x509TtlSeconds ?? null,
    jwtTtlSeconds: input.jwtTtlSeconds ?? null,
  };
}

function checkId(
  text: string,
  trustDomain: string,
  refuse: (message: string) => void,
): { readonly id: SpiffeId; readonly namespace: string } | undefined {
  let id: SpiffeId;
  try {
    id = parseSpiffeId(text);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    refuse(error.message);
    return undefined;
  }
  if (id.trustDomain !== trustDomain) {
    refuse(`must be in the trust domain ${trustDomain}`);
    return undefined;
  }
  if (isReserved(id)) {
    refuse('must not be below /writ, which is reserved for Writ itself');
    return undefined;
  }
  const workload = workloadOf(id);
  if (workload === undefined || !dnsLabel.test(workload.namespace) || !dnsLabel.test(workload.service)) {
    refuse(
      `must read spiffe://${trustDomain}/ns/<namespace>/sa/<service>, where both names have at most 63 lower-case letters, ` +
        'digits and inner dashes',
    );
    return undefined;
  }
  return { id, namespace: workload.namespace };
}

type Refuse = (pointer: string, message: string) => void;

function checkSelectors(selectors: readonly string[], refuse: Refuse): void {
  if (selectors.length > MAX_SELECTORS) {
    refuse('/selectors', `must have at most ${MAX_SELECTORS} items`);
    return;
  }
  for (const [index, text] of selectors.entries()) {
    if (text.length > MAX_SELECTOR_CHARACTERS || !selector.test(text)) {
      refuse(
        `/selectors/${index}`,
        `must read <type>:<value> without control characters, at most ${MAX_SELECTOR_CHARACTERS} characters long`,
      );
    } else if (selectors.indexOf(text) !== index) {
      refuse(`/selectors/${index}`, 'must not repeat another selector');
    }
  }
}

function checkLabels(labels: Readonly<Record<string, string>>, refuse: Refuse): void {
  const entries = Object.entries(labels);
  if (entries.length > MAX_LABELS) {
    refuse('/labels', `must have at most ${MAX_LABELS} members`);
    return;
  }
  for (const [key, value] of entries) {
    const pointer = `/labels/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (!isLabelKey(key)) {
      refuse(pointer, 'must have a key like app or example.org/app (as in Kubernetes), its name at most 63 characters');
    }
    if (value !== '' && !labelName.test(value)) {
      refuse(pointer, 'must have a value of at most 63 letters, digits and inner dashes, dots and underscores');
    }
  }
}

function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/');
  if (slash === -1) return labelName.test(key);
  const prefix = key.slice(0, slash);
  return (
    prefix.length <= MAX_LABEL_PREFIX_CHARACTERS && dnsSubdomain.test(prefix) && labelName.test(key.slice(slash + 1))
  );
}

function checkTtl(
  value: number | null | undefined,
  range: { readonly min: number; readonly max: number },
  refuse: (message: string) => void,
): void {
  if (value === null || value === undefined) return;
  if (!Number.isInteger(value) || value < range.min || value > range.max) {
    refuse(`must be a whole number from ${range.min} to ${range.max}`);
  }
}

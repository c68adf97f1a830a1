import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { Entry, EntryInput } from '../../control/authority/entries/entries.ts';
import { warnings } from './dry-run.ts';
import { closed, id, nullable, revision, spiffeId, time } from './schemas.ts';
import { toTime, toTimeOrNull } from './time.ts';

const seconds = (minimum: number, maximum: number, what: string) =>
  Type.Unsafe<number | null>({
    type: ['integer', 'null'],
    minimum,
    maximum,
    description: `Lifetime of its ${what} in seconds; null for the default.`,
  });

const selectors =
  'What a workload must show: `unix:uid:1000`, `k8s:ns:shop`. All of them; at least one below a parent.';
const namespaces = 'Which namespaces the variable of a template may name. Exactly these.';
const dnsNames = 'Host names in its certificates; a leading `*.` is allowed.';
const federatesWith = 'Other trust domains whose bundles the workload gets.';
const hint = 'Tells several identities of one workload apart.';

/** What can be said of an entry. What is left out has its default. */
export const EntryBody = Type.Object(
  {
    spiffeId: Type.String({
      minLength: 1,
      maxLength: 2048,
      description: 'SPIFFE ID, or a template of many: `spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}`.',
    }),
    parentId: Type.Optional(
      Type.Unsafe<string | null>({
        type: ['string', 'null'],
        minLength: 1,
        maxLength: 2048,
        description:
          'Who serves it: the SPIFFE ID of an agent, one that an alias gives to agents, or `spiffe://…/writ/control-plane` for ' +
          'whoever attests directly. null: nobody; it is for join tokens.',
      }),
    ),
    selectors: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 512 }), {
        maxItems: 64,
        uniqueItems: true,
        description: selectors,
      }),
    ),
    namespaces: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 63 }), {
        maxItems: 256,
        uniqueItems: true,
        description: namespaces,
      }),
    ),
    labels: Type.Optional(
      Type.Record(Type.String({ minLength: 1, maxLength: 317 }), Type.String({ maxLength: 63 }), {
        maxProperties: 64,
        description: 'What policy selectors match. All entries of a SPIFFE ID have the same, which are the default.',
      }),
    ),
    x509TtlSeconds: Type.Optional(seconds(60, 86_400, 'certificates')),
    jwtTtlSeconds: Type.Optional(seconds(30, 3_600, 'JWTs')),
    dnsNames: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 253 }), {
        maxItems: 16,
        uniqueItems: true,
        description: dnsNames,
      }),
    ),
    federatesWith: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 255 }), {
        maxItems: 32,
        uniqueItems: true,
        description: federatesWith,
      }),
    ),
    hint: Type.Optional(Type.String({ maxLength: 1024, description: hint })),
    expiresAt: Type.Optional(
      Type.Unsafe<string | null>({
        type: ['string', 'null'],
        format: 'date-time',
        description: 'From then on it is as if it were not there. null: never.',
      }),
    ),
    jwtClaims: Type.Optional(
      Type.Unsafe<NonNullable<EntryInput['jwtClaims']> | null>({
        type: ['object', 'null'],
        additionalProperties: true,
        maxProperties: 32,
        description:
          'More claims of its JWTs. Strings may hold the variables of the SPIFFE ID. Not sub, aud, exp, iat, nbf, iss, jti.',
      }),
    ),
  },
  closed,
);

const texts = (description: string) => Type.Array(Type.String(), { description });

export const EntryOutput = Type.Object(
  {
    id,
    spiffeId,
    parentId: nullable(spiffeId),
    selectors: texts(selectors),
    namespaces: texts(namespaces),
    labels: Type.Record(Type.String(), Type.String()),
    x509TtlSeconds: nullable(Type.Integer()),
    jwtTtlSeconds: nullable(Type.Integer()),
    dnsNames: texts(dnsNames),
    federatesWith: texts(federatesWith),
    hint: Type.String({ description: hint }),
    expiresAt: nullable(time),
    jwtClaims: nullable(Type.Record(Type.String(), Type.Unknown())),
    revision,
    createdAt: time,
    updatedAt: time,
    warnings,
  },
  closed,
);

/** What is left out is left out: whoever writes it knows the default. */
export function toInput(body: Static<typeof EntryBody>): EntryInput {
  const { expiresAt, ...rest } = body;
  return { ...rest, expiresAt: expiresAt === undefined || expiresAt === null ? null : Date.parse(expiresAt) };
}

export function toOutput(entry: Entry): Static<typeof EntryOutput> {
  return {
    id: entry.id,
    spiffeId: entry.spiffeId,
    parentId: entry.parentId,
    selectors: [...entry.selectors],
    namespaces: [...entry.namespaces],
    labels: { ...entry.labels },
    x509TtlSeconds: entry.x509TtlSeconds,
    jwtTtlSeconds: entry.jwtTtlSeconds,
    dnsNames: [...entry.dnsNames],
    federatesWith: [...entry.federatesWith],
    hint: entry.hint,
    expiresAt: toTimeOrNull(entry.expiresAt),
    jwtClaims: entry.jwtClaims === null ? null : { ...entry.jwtClaims },
    revision: entry.revision,
    createdAt: toTime(entry.createdAt),
    updatedAt: toTime(entry.updatedAt),
  };
}

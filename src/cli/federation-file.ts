import { parse } from 'yaml';
import { AppError } from '../base/errors.ts';

/** What `PUT /v1/federation/{trustDomain}` takes, as a file says it. The server judges the values. */
export interface FederationFile {
  readonly trustDomain: string;
  readonly body: Readonly<Record<string, unknown>>;
}

const fields: readonly string[] = ['trustDomain', 'bundleEndpoint', 'bundle', 'bundleFile', 'services'];
const endpointFields: readonly string[] = ['url', 'profile', 'spiffeId', 'caCertificates', 'caFile'];

/**
 * Reads a relationship from YAML or JSON. `caFile` and `bundleFile` name files beside it, whose content is sent: the server
 * never reads a file that somebody names over its API.
 *
 * @param read content of a file, its name relative to this one
 * @throws AppError `usage`
 */
export async function readFederationFile(
  text: string,
  read: (file: string) => Promise<string>,
): Promise<FederationFile> {
  const top = objectOf(parseText(text), 'The file', fields);
  const { trustDomain, bundleEndpoint, bundleFile, bundle, ...rest } = top;
  if (typeof trustDomain !== 'string')
    throw new AppError('usage', 'trustDomain is missing: the name of the other one.');
  const { caFile, ...endpoint } = objectOf(bundleEndpoint, 'bundleEndpoint', endpointFields);
  const ca = caFile === undefined ? {} : { caCertificates: await read(nameOf(caFile, 'bundleEndpoint.caFile')) };
  const document = bundleFile === undefined ? textOfBundle(bundle) : await read(nameOf(bundleFile, 'bundleFile'));
  return {
    trustDomain,
    body: { ...rest, bundleEndpoint: { ...endpoint, ...ca }, ...(document !== undefined && { bundle: document }) },
  };
}

function parseText(text: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    throw new AppError('usage', 'The file is neither YAML nor JSON.', { cause });
  }
}

function objectOf(value: unknown, what: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new AppError('usage', `${what} must have the fields ${known.join(', ')}.`);
  }
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new AppError('usage', `${what} has no field ${JSON.stringify(unknown)}; there are ${known.join(', ')}.`);
  }
  return value as Record<string, unknown>;
}

function nameOf(value: unknown, field: string): string {
  if (typeof value !== 'string' || value === '') throw new AppError('usage', `${field} must be the name of a file.`);
  return value;
}

/** A document may stand in the file as it is. */
function textOfBundle(bundle: unknown): string | undefined {
  if (bundle === undefined || bundle === null) return undefined;
  return typeof bundle === 'string' ? bundle : JSON.stringify(bundle);
}

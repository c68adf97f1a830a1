/** Reads an ExportLogsServiceRequest (opentelemetry-proto logs.proto, JSON) strictly, as a collector does: unknown keys and wrong types fail. */
export interface OtlpRecord {
  readonly resource: ReadonlyMap<string, unknown>;
  readonly timeMs: number;
  readonly observedMs: number;
  readonly severity: number;
  readonly eventName: string;
  readonly traceId: string | undefined;
  readonly attributes: ReadonlyMap<string, unknown>;
}

type Json = { readonly [key: string]: unknown };

export function decodeOtlp(text: string): readonly OtlpRecord[] {
  const request = known(JSON.parse(text), ['resourceLogs']);
  return listOf(request.resourceLogs).flatMap((each) => {
    const resourceLogs = known(each, ['resource', 'scopeLogs', 'schemaUrl']);
    const resource = attributesOf(known(resourceLogs.resource, ['attributes']).attributes);
    return listOf(resourceLogs.scopeLogs).flatMap((scoped) => {
      const scopeLogs = known(scoped, ['scope', 'logRecords', 'schemaUrl']);
      known(scopeLogs.scope, ['name', 'version']);
      return listOf(scopeLogs.logRecords).map((record) => recordOf(record, resource));
    });
  });
}

function recordOf(value: unknown, resource: ReadonlyMap<string, unknown>): OtlpRecord {
  const record = known(value, [
    ...['timeUnixNano', 'observedTimeUnixNano', 'severityNumber', 'severityText', 'eventName', 'body', 'attributes'],
    ...['droppedAttributesCount', 'flags', 'traceId', 'spanId'],
  ]);
  const { severityNumber: severity, traceId, eventName } = record;
  if (typeof severity !== 'number' || severity < 1 || severity > 24) throw new Error('severity');
  if (traceId !== undefined && !/^[0-9a-f]{32}$/.test(String(traceId))) throw new Error('trace id');
  return {
    resource: new Map([...resource].filter(([key]) => key === 'service.name')),
    timeMs: millisecondsOf(record.timeUnixNano),
    observedMs: millisecondsOf(record.observedTimeUnixNano),
    severity,
    eventName: String(eventName),
    traceId: traceId === undefined ? undefined : String(traceId),
    attributes: attributesOf(record.attributes),
  };
}

/** fixed64 is a text in the JSON of protobuf. */
function millisecondsOf(value: unknown): number {
  if (typeof value !== 'string' || !/^\d{1,20}$/.test(value)) throw new Error(`no fixed64: ${String(value)}`);
  return Number(BigInt(value) / 1_000_000n);
}

function attributesOf(value: unknown): ReadonlyMap<string, unknown> {
  const found = new Map<string, unknown>();
  for (const each of listOf(value)) {
    const { key, value: any } = known(each, ['key', 'value']);
    const [[type, inner] = ['', undefined]] = Object.entries(known(any, ['stringValue', 'intValue', 'boolValue']));
    if (type === 'stringValue' ? typeof inner !== 'string' : type === 'intValue' && !/^-?\d+$/.test(String(inner)))
      throw new Error(`value of ${String(key)}`);
    if (found.has(String(key))) throw new Error(`${String(key)} twice`);
    found.set(String(key), inner);
  }
  return found;
}

function known(value: unknown, keys: readonly string[]): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('no object');
  const unknown = Object.keys(value).filter((key) => !keys.includes(key));
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join()}`);
  return value as Json;
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error('no list');
  return value;
}

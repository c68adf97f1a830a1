/** What one field of an event may hold. */
export interface Field<T> {
  /** What is recorded for a value: the value itself, or one that is cut to its limit. */
  record(value: unknown): unknown;
  accepts(value: unknown): value is T;
}

const asIs = (value: unknown) => value;

/** A field that need not be there; what is not there leaves no bytes. */
export function optionalField<T>(field: Field<T>): Field<T | undefined> {
  return {
    record: (value) => (value === undefined ? undefined : field.record(value)),
    accepts: (value): value is T | undefined => value === undefined || field.accepts(value),
  };
}

/** A whole number from 0 to `max` (default 2^53 − 1). */
export function countField(max: number = Number.MAX_SAFE_INTEGER): Field<number> {
  return {
    record: asIs,
    // -0 is refused: JSON would make it 0.
    accepts: (value): value is number =>
      typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= max && !Object.is(value, -0),
  };
}

/**
 * A count that was measured with a clock: recorded as a whole number within the bounds, whatever the clock has said. A
 * record must not be refused because a clock was set back.
 */
export function measuredField(max: number = Number.MAX_SAFE_INTEGER): Field<number> {
  return {
    record: (value) =>
      typeof value === 'number' && !Number.isNaN(value) ? Math.min(Math.max(Math.floor(value), 0), max) : value,
    accepts: countField(max).accepts,
  };
}

/** Printable ASCII, without spaces. */
export function asciiField(minLength: number, maxLength: number): Field<string> {
  return {
    record: asIs,
    accepts: (value): value is string =>
      typeof value === 'string' && value.length >= minLength && value.length <= maxLength && /^[!-~]*$/.test(value),
  };
}

/** Lower-hex digits, or none. */
export function hexField(maxLength: number): Field<string> {
  return {
    record: asIs,
    accepts: (value): value is string =>
      typeof value === 'string' && value.length <= maxLength && /^[0-9a-f]*$/.test(value),
  };
}

/** W3C trace id, or none. It comes from the caller: a malformed one is recorded as none. */
export function traceField(): Field<string> {
  const accepts = (value: unknown): value is string => typeof value === 'string' && /^([0-9a-f]{32})?$/.test(value);
  return { record: (value) => (typeof value === 'string' && !accepts(value) ? '' : value), accepts };
}

/** Any text, which the caller chose: cut to `maxUnits` UTF-16 units, the last of them '…'. */
export function callerTextField(maxUnits: number): Field<string> {
  return {
    record(value) {
      if (typeof value !== 'string' || value.length <= maxUnits) return value;
      // Never between the halves of a surrogate pair.
      const end = isHighSurrogate(value.charCodeAt(maxUnits - 2)) ? maxUnits - 2 : maxUnits - 1;
      return `${value.slice(0, end)}…`;
    },
    accepts: (value): value is string => typeof value === 'string' && value.length <= maxUnits,
  };
}

/**
 * A list of texts: each is cut to `maxUnits` UTF-16 units, and together they have `maxTotalUnits`. Of a longer list the first
 * are recorded, and a last text that says how many there were besides.
 */
export function textListField(o: {
  readonly maxItems: number;
  readonly maxUnits: number;
  readonly maxTotalUnits: number;
}): Field<readonly string[]> {
  const text = callerTextField(o.maxUnits);
  const fits = (list: readonly string[]) => list.length <= o.maxItems && unitsOf(list) <= o.maxTotalUnits;
  return {
    record(value) {
      if (!isTextList(value)) return value;
      const cut = value.map((item) => text.record(item) as string);
      if (fits(cut)) return cut;
      const kept: string[] = [];
      let units = MAX_REST_UNITS;
      for (const item of cut) {
        units += item.length;
        if (units > o.maxTotalUnits || kept.length === o.maxItems - 1) break;
        kept.push(item);
      }
      return [...kept, `… and ${cut.length - kept.length} more`];
    },
    accepts: (value): value is readonly string[] =>
      isTextList(value) && fits(value) && value.every((item) => text.accepts(item)),
  };
}

/** Of the text that says how many are left out. */
const MAX_REST_UNITS = 24;

function isTextList(value: unknown): value is readonly string[] {
  // No holes: they would be read as `null`.
  return Array.isArray(value) && Array.from(value).every((item) => typeof item === 'string');
}

function unitsOf(list: readonly string[]): number {
  return list.reduce((sum, item) => sum + item.length, 0);
}

export function oneOfField<const T extends string>(values: readonly T[]): Field<T> {
  return { record: asIs, accepts: (value): value is T => (values as readonly unknown[]).includes(value) };
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

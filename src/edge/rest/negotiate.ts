import { HttpError } from './problem.ts';

/** The offered media type that `Accept` likes best (RFC 9110 §12.5.1); the first offer where it has no opinion. Throws 406. */
export function accepts(header: string | undefined, offers: readonly [string, ...string[]]): string {
  if (header === undefined || header.trim() === '') return offers[0];
  const ranges = header.slice(0, 1024).split(',').map(readRange);
  let best: { offer: string; quality: number } | undefined;
  for (const offer of offers) {
    const quality = qualityOf(offer, ranges);
    if (quality > (best?.quality ?? 0)) best = { offer, quality };
  }
  if (best === undefined)
    throw new HttpError(406, `This resource comes as ${offers.join(' or ')}; Accept wants something else.`);
  return best.offer;
}

interface Range {
  readonly type: string;
  readonly quality: number;
}

function readRange(text: string): Range {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase());
  const q = parameters.find((parameter) => parameter.startsWith('q='));
  const quality = q === undefined ? 1 : Number(q.slice(2));
  return { type, quality: Number.isFinite(quality) ? quality : 0 };
}

/** Of the most specific range that covers `offer`. */
function qualityOf(offer: string, ranges: readonly Range[]): number {
  const family = `${offer.split('/', 1)[0]}/*`;
  for (const type of [offer, family, '*/*']) {
    const range = ranges.find((candidate) => candidate.type === type);
    if (range !== undefined) return range.quality;
  }
  return 0;
}

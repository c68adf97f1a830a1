import { unreachable } from '../../base/errors.ts';

/** How long things live, in seconds. */
export interface Lifetimes {
  /** The root certificate. Default one year. */
  readonly rootSeconds: number;
  /** A replica's intermediate; renewed at half its life. Default 24 h. */
  readonly intermediateSeconds: number;
  /** The control plane's own X.509-SVID; renewed at half its life. Default 1 h. */
  readonly serverSeconds: number;
  /** An X.509-SVID for which nothing else is asked. Default 1 h. */
  readonly x509Seconds: number;
  /** The longest X.509-SVID that can be asked for. Default 24 h. None outlives the intermediate that signs it. */
  readonly x509MaxSeconds: number;
  /** A JWT-SVID for which nothing else is asked. Default 5 min. */
  readonly jwtSeconds: number;
  /** The longest JWT-SVID that can be asked for. Default 1 h: there is no taking one back. */
  readonly jwtMaxSeconds: number;
  /** A JWT or WIT key. Default 7 d. */
  readonly tokenKeySeconds: number;
  /** A WIT-SVID for which nothing else is asked. Default 1 h. */
  readonly witSeconds: number;
  /** The longest WIT-SVID that can be asked for. Default 24 h. */
  readonly witMaxSeconds: number;
  /** How far in the past certificates begin, for peers whose clocks are behind. Default 10 s. */
  readonly backdateSeconds: number;
}

const hour = 3600;
const day = 24 * hour;

export const defaultLifetimes: Lifetimes = Object.freeze({
  rootSeconds: 365 * day,
  intermediateSeconds: day,
  serverSeconds: hour,
  x509Seconds: hour,
  x509MaxSeconds: day,
  jwtSeconds: 300,
  jwtMaxSeconds: hour,
  tokenKeySeconds: 7 * day,
  witSeconds: hour,
  witMaxSeconds: day,
  backdateSeconds: 10,
});

/** For validators whose clocks are behind. */
const CLOCK_LEEWAY_MS = 60_000;

/**
 * How long after an authority has stopped signing something below it can still be valid: for a root, an intermediate that a
 * replica made just before, and what that signs; for a key, its longest token.
 */
export function belowMs(kind: 'x509' | 'jwt' | 'wit', lifetimes: Lifetimes): number {
  switch (kind) {
    case 'x509':
      return (lifetimes.intermediateSeconds + lifetimes.x509MaxSeconds) * 1000 + CLOCK_LEEWAY_MS;
    case 'jwt':
      return lifetimes.jwtMaxSeconds * 1000 + CLOCK_LEEWAY_MS;
    case 'wit':
      return lifetimes.witMaxSeconds * 1000 + CLOCK_LEEWAY_MS;
    default:
      return unreachable(kind);
  }
}

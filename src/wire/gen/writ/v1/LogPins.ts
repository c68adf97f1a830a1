// Generated from audit.proto by `npm run gen`. Do not edit.

import type { LogPin as _writ_v1_LogPin, LogPin__Output as _writ_v1_LogPin__Output } from '../../writ/v1/LogPin.ts';

export interface LogPins {
  'pins'?: (_writ_v1_LogPin)[];
}

export interface LogPins__Output {
  'pins': (_writ_v1_LogPin__Output)[];
}

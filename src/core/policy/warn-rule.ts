import type { Attribute, AttributeType } from './attributes.ts';
import type { Findings, Place } from './findings.ts';
import { quoted } from './findings.ts';
import type { Action, Condition } from './model.ts';
import type { RuleOwner } from './read-rule.ts';

/** What a call may come without, and the words for who does. The others every call has. */
const absentable: Readonly<Partial<Record<AttributeType, string>>> = {
  principal: 'callers without an identity, where plain text is let in',
  trustDomain: 'callers without an identity, where plain text is let in',
  namespace: 'callers that are in no namespace',
  serviceAccount: 'callers that are no service account',
  requestPrincipal: 'calls without a token',
  claim: 'calls without a token, or whose token does not say it',
  header: 'requests without that field',
  sni: 'connections without a server name',
};

/** Reference: rules 6 and 48. A DENY that excludes is the usual way to demand something. */
export function warnOfAbsent(attribute: Attribute, { action, egress }: RuleOwner, at: Place, findings: Findings): void {
  const who = absentable[attribute.type];
  if (who === undefined || action !== 'ALLOW') return;
  // Whom a call goes to has an identity, or no connection to it is made.
  if (egress && (attribute.type === 'principal' || attribute.type === 'trustDomain')) return;
  const message = `This ALLOW says only what ${quoted(attribute.key)} must not be, and so it also lets in ${who}. Say what it must be too: "*" is any.`;
  findings.warn('matches-absent', at, message);
}

/** Reference: rule 17. A caller may add a port, and most applications do not look at it. */
export function warnOfHosts(
  condition: Condition,
  action: Action | undefined,
  at: Place | undefined,
  findings: Findings,
): void {
  if (condition.key !== 'operation.host' || at === undefined) return;
  const closing = action === 'DENY' ? condition.values : action === 'ALLOW' ? condition.notValues : [];
  const bare = closing.find((host) => !host.endsWith('*') && !/:[0-9]+$/.test(host) && !closing.includes(`${host}:*`));
  if (bare === undefined) return;
  const advice = bare.startsWith('*')
    ? 'Name hosts without a "*" in front, each a second time with ":*".'
    : `Write ${quoted(`${bare}:*`)} beside it.`;
  const message = `The host ${quoted(bare)} does not match when the caller adds a port, and then this does not hold. ${advice}`;
  findings.warn('host-without-port', at, message);
}

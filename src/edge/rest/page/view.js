// What the page shows, as elements. Paths, hosts and errors were chosen by callers and by sidecars: text goes into the
// document by textContent and nothing else, so it can never become markup.

/** Rows of the live calls that are kept. */
export const MAX_CALLS = 200;

/** `shop/web` for a workload, else the whole SPIFFE ID. */
export function shortId(id) {
  const match = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(id);
  return match === null ? id : `${match[1]}/${match[2]}`;
}

export function describeCall(call) {
  const { protocol, method, path, port } = call.operation;
  return protocol === 'tcp' ? `tcp port ${port}` : `${method} ${path}`;
}

export function callRow(document, call) {
  const verdict = call.status === null ? call.decision : `${call.decision} ${call.status}`;
  return row(document, [
    { label: 'Time', text: clockTime(call.time), title: call.time },
    { label: 'Who', text: shortId(call.source), title: call.source },
    { label: 'Whom', text: shortId(call.destination), title: call.destination },
    { label: 'What', text: describeCall(call), title: call.operation.host },
    { label: 'Verdict', text: verdict, title: call.reason, kind: call.decision === 'allow' ? 'allow' : 'deny' },
    {
      label: 'Rule',
      text: call.cut === undefined ? call.rule : `${call.rule}, cut by ${call.cut.rule}`,
      title: `policy revision ${call.policyRevision}`,
    },
  ]);
}

export function proxyRow(document, proxy) {
  const acknowledged = proxy.acknowledgedRevision ?? 'none';
  return row(document, [
    { label: 'Identity', text: shortId(proxy.spiffeId), title: proxy.instanceId },
    {
      label: 'State',
      text: stateOf(proxy),
      kind: isWell(proxy) ? 'allow' : 'bad',
    },
    { label: 'Revision', text: `${acknowledged} of ${proxy.desiredRevision}` },
    { label: 'Endpoints', text: proxy.endpoints.join(', ') },
    { label: 'Last seen', text: clockTime(proxy.lastSeen), title: proxy.lastSeen },
  ]);
}

/** ` (4 min)`. */
function ageOf(time) {
  const minutes = Math.floor((Date.now() - Date.parse(time)) / 60_000);
  return minutes > 0 ? ` (${minutes} min)` : '';
}

function isWell({ state, quarantined, plainTextPorts = [], record }) {
  return state === 'synced' && !quarantined && plainTextPorts.length === 0 && !record?.staleSince;
}

function stateOf({ state, lastError, quarantined, plainTextPorts = [], record }) {
  const text = lastError === null ? state : `${state}: ${lastError}`;
  const plain = plainTextPorts.length === 0 ? '' : `, plain text on ${plainTextPorts.join(', ')}`;
  // What is not heard of is not drawn as if it were quiet.
  const silent = record?.staleSince
    ? `, record stale since ${clockTime(record.staleSince)}${ageOf(record.staleSince)}`
    : '';
  const gaps = record?.gaps ? `, ${record.gaps} gaps in its record` : '';
  return `${text}${quarantined ? ', in quarantine' : ''}${plain}${silent}${gaps}`;
}

export function quarantineRow(document, quarantine) {
  const { connected, obeying } = quarantine.enforcement;
  return row(document, [
    { label: 'Identity', text: shortId(quarantine.spiffeId), title: quarantine.spiffeId, kind: 'bad' },
    { label: 'Since', text: clockTime(quarantine.createdAt), title: quarantine.createdAt },
    { label: 'By', text: quarantine.author },
    { label: 'Reason', text: quarantine.reason },
    {
      label: 'Obeyed by',
      text: `${obeying} of ${connected} connected sidecars`,
      title: quarantine.enforcement.waiting.join(', '),
      kind: obeying === connected ? 'allow' : 'bad',
    },
  ]);
}

export function policyRow(document, policy) {
  const { namespace, name, revision, updatedAt, updatedBy } = policy.metadata;
  return row(document, [
    { label: 'Policy', text: `${namespace}/${name}` },
    { label: 'Action', text: policy.spec.action ?? 'ALLOW' },
    { label: 'Revision', text: String(revision) },
    { label: 'Changed', text: clockTime(updatedAt), title: updatedAt },
    { label: 'By', text: updatedBy },
  ]);
}

export function addressItems(document, addresses) {
  return Object.entries(addresses).flatMap(([name, address]) => {
    const term = document.createElement('dt');
    term.textContent = name;
    const value = document.createElement('dd');
    const code = document.createElement('code');
    code.textContent = address;
    value.append(code);
    return [term, value];
  });
}

/**
 * Puts a call on top of the table, or in the place of its earlier self: a call comes once when it is decided and once when
 * it is over.
 */
export function showCall(document, body, rows, call) {
  const element = callRow(document, call);
  const before = rows.get(call.id);
  rows.set(call.id, element);
  if (before !== undefined) {
    before.replaceWith(element);
    return;
  }
  body.prepend(element);
  if (rows.size <= MAX_CALLS) return;
  const [oldest] = rows.keys();
  rows.get(oldest)?.remove();
  rows.delete(oldest);
}

function row(document, cells) {
  const element = document.createElement('tr');
  for (const { label, text, title, kind } of cells) {
    const cell = document.createElement('td');
    const content = document.createElement('span');
    cell.dataset.label = label;
    content.textContent = text;
    if (title !== undefined) content.title = title;
    if (kind !== undefined) content.className = kind;
    cell.append(content);
    element.append(cell);
  }
  return element;
}

function clockTime(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toLocaleTimeString();
}

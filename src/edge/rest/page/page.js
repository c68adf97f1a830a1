import { readEvents } from './events.js';
import { addressItems, policyRow, proxyRow, quarantineRow, showCall } from './view.js';

const TOKEN = 'writ.token';
const REFRESH_MS = 2_000;
const byId = (id) => document.getElementById(id);
const calls = { body: byId('calls').tBodies[0], rows: new Map(), paused: false, lost: 0 };
/** Ends everything that the present sign-in started. */
let session = new AbortController();

byId('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId('token').value.trim());
  byId('token').value = '';
  start();
});
byId('sign-out').addEventListener('click', () => signOut(''));
byId('pause').addEventListener('click', () => {
  calls.paused = !calls.paused;
  byId('pause').setAttribute('aria-pressed', String(calls.paused));
  byId('pause').textContent = calls.paused ? 'Go on' : 'Pause';
});

void introduce();
if (sessionStorage.getItem(TOKEN) === null) signOut('');
else start();

async function introduce() {
  const about = await (await fetch('/page.json')).json();
  byId('summary').textContent = `A zero-trust service mesh. Version ${about.version}`;
  if (about.tokenFile === null) return;
  byId('token-file').querySelector('code').textContent = about.tokenFile;
  byId('token-file').hidden = false;
}

function start() {
  session.abort();
  session = new AbortController();
  say('');
  show(true);
  void follow(session.signal);
  void refresh(session.signal);
}

function signOut(message) {
  session.abort();
  sessionStorage.removeItem(TOKEN);
  show(false);
  say(message);
  byId('token').focus();
}

function show(signedIn) {
  byId('sign-in').hidden = signedIn;
  byId('mesh').hidden = !signedIn;
  byId('sign-out').hidden = !signedIn;
}

function say(message) {
  byId('message').textContent = message;
  byId('message').hidden = message === '';
}

async function get(path, signal, have = {}) {
  const headers = { authorization: `Bearer ${sessionStorage.getItem(TOKEN)}`, ...have };
  const response = await fetch(path, { headers, signal, cache: 'no-store' });
  if (response.status === 401) signOut('This token is not valid here.');
  if (!response.ok && response.status !== 304) throw new Error(`${path} answered ${response.status}`);
  return response;
}

/** The live tail; comes back by itself after an interruption. */
async function follow(signal) {
  while (!signal.aborted) {
    try {
      const response = await get('/v1/audit/tail', signal);
      await backfill(signal);
      callsState('Live.');
      await readEvents(response, onEvent);
    } catch {
      // Said below.
    }
    if (signal.aborted) return;
    callsState('The connection is interrupted; trying again.');
    await wait(REFRESH_MS, signal);
  }
}

async function backfill(signal) {
  const page = await (await get('/v1/audit/events?limit=50', signal)).json();
  for (const call of page.items.toReversed()) showCall(document, calls.body, calls.rows, call);
}

function onEvent({ event, data }) {
  if (event === 'lost') {
    calls.lost += JSON.parse(data).count;
    callsState(`Live. ${calls.lost} calls came too fast to be shown; the record has them.`);
  }
  if (event === 'record' && !calls.paused) showCall(document, calls.body, calls.rows, JSON.parse(data));
}

function callsState(text) {
  byId('calls-state').textContent = text;
}

/** Everything that is not streamed. */
async function refresh(signal) {
  let policies;
  while (!signal.aborted) {
    try {
      const paths = ['/v1/info', '/v1/proxies?limit=500', '/v1/quarantines?limit=500'];
      const [info, proxies, quarantines] = await Promise.all(
        paths.map(async (path) => (await get(path, signal)).json()),
      );
      policies = (await changedPolicies(policies?.revision, signal)) ?? policies;
      byId('summary').textContent =
        `Trust domain ${info.trustDomain}, revision ${policies.revision}. Version ${info.version}`;
      byId('addresses').replaceChildren(...addressItems(document, info.addresses));
      byId('quarantine').hidden = quarantines.items.length === 0;
      byId('quarantines').tBodies[0].replaceChildren(...quarantines.items.map((each) => quarantineRow(document, each)));
      byId('proxies').tBodies[0].replaceChildren(...proxies.items.map((proxy) => proxyRow(document, proxy)));
      byId('policies').tBodies[0].replaceChildren(...policies.items.map((policy) => policyRow(document, policy)));
      say('');
    } catch {
      if (!signal.aborted) say('The control plane does not answer. What you see may be old.');
    }
    await wait(REFRESH_MS, signal);
  }
}

/** Undefined when `revision` is still current. */
async function changedPolicies(revision, signal) {
  const have = revision === undefined ? {} : { 'if-none-match': `"${revision}"` };
  const response = await get('/v1/policies?limit=500', signal, have);
  return response.status === 304 ? undefined : response.json();
}

function wait(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

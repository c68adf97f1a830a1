import { request as plain } from 'node:http';
import { request as secure } from 'node:https';
import { run } from './dev-mesh.ts';

/** What came of one GET. Without an answer the status is 0. */
export interface Answer {
  readonly outcome: 'answered' | 'refused' | 'failed';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export type Get = (url: string, headers?: Readonly<Record<string, string>>) => Promise<Answer>;

const nothing = { status: 0, headers: {}, body: '' };
const limitMs = 10_000;

/** By Node, on a connection of its own. Not by fetch: that one lets nobody choose the Host. Trusts any certificate. */
export const getByNode: Get = (url, headers = {}) =>
  new Promise((done) => {
    const fail = (error: NodeJS.ErrnoException) =>
      done({ outcome: error.code === 'ECONNREFUSED' ? 'refused' : 'failed', ...nothing });
    const common = { headers, agent: false, signal: AbortSignal.timeout(limitMs) } as const;
    const call = url.startsWith('https:') ? secure(url, { ...common, rejectUnauthorized: false }) : plain(url, common);
    call.on('error', fail).on('response', (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      const received = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
      response.on('error', fail).on('end', () =>
        done({
          outcome: 'answered',
          status: response.statusCode ?? 0,
          headers: Object.fromEntries(received),
          body,
        }),
      );
    });
    call.end();
  });

/** The same by curl: an opinion on our HTTP that is not Node's. */
export const getByCurl: Get = async (url, headers = {}) => {
  const given = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const { code, stdout } = await run('curl', ['-s', '-i', '-k', '--max-time', String(limitMs / 1000), ...given, url]);
  // 7 is "failed to connect".
  if (code !== 0) return { outcome: code === 7 ? 'refused' : 'failed', ...nothing };
  const end = stdout.indexOf('\r\n\r\n');
  const [first = '', ...lines] = stdout.slice(0, end).split('\r\n');
  const received = lines.map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return {
    outcome: 'answered',
    status: Number(first.split(' ')[1] ?? 0),
    headers: Object.fromEntries(received),
    body: stdout.slice(end + 4),
  };
};

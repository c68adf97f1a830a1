/** Readers of CEF and syslog as receivers have them: they share nothing with what writes. */

export function parseCef(line: string): {
  readonly header: readonly string[];
  readonly extension: ReadonlyMap<string, string>;
} {
  const header: string[] = [];
  let field = '';
  let i = 0;
  for (; header.length < 7; i += 1) {
    const c = line[i];
    if (c === undefined) throw new Error(`not CEF: ${line}`);
    if (c === '\\') field += line[++i] ?? '';
    else if (c === '|') {
      header.push(field);
      field = '';
    } else field += c;
  }
  const extension = new Map<string, string>();
  // A value ends where ` key=` begins; an escaped `=` begins none.
  const pattern = /(?:^| )([A-Za-z0-9_]+)=((?:\\[\s\S]|[^\\=])*?)(?=$| [A-Za-z0-9_]+=)/gy;
  const rest = line.slice(i);
  let end = 0;
  for (const match of rest.matchAll(pattern)) {
    end = match.index + match[0].length;
    extension.set(
      match[1] ?? '',
      (match[2] ?? '').replaceAll(/\\([\s\S])/g, (_, c: string) => (c === 'n' ? '\n' : c === 'r' ? '\r' : c)),
    );
  }
  if (end !== rest.length) throw new Error(`not CEF behind ${end}: ${rest}`);
  return { header, extension };
}

export interface SyslogMessage {
  readonly priority: number;
  readonly time: string;
  readonly host: string;
  readonly kind: string;
  readonly data: ReadonlyMap<string, string>;
  readonly message: string;
}

/** RFC 5424 §6, with one element of structured data. */
export function parseSyslog(text: string): SyslogMessage {
  const header =
    /^<(\d{1,3})>1 (\S+) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) \[([!-~]{1,32}?)(?= |\])/.exec(text);
  if (header === null) throw new Error(`not RFC 5424: ${text}`);
  const data = new Map<string, string>();
  const pattern = / ([!-~]{1,32}?)="((?:\\["\\\]]|[^"\\\]])*)"/uy;
  let at = header[0].length;
  for (;;) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) break;
    at = pattern.lastIndex;
    data.set(match[1] ?? '', (match[2] ?? '').replaceAll(/\\(["\\\]])/g, '$1'));
  }
  if (text.slice(at, at + 3) !== '] \ufeff') throw new Error(`not RFC 5424 behind ${at}: ${text}`);
  const [, priority, time = '', host = '', , , kind = ''] = header;
  return { priority: Number(priority), time, host, kind, data, message: text.slice(at + 3) };
}

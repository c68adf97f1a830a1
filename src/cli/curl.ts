/** The call as a shell command. The token is read from its file by the shell's built-in and never becomes an argument. */
export function curl(call: {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly tokenFile: string | undefined;
}): string {
  const parts = ['curl -sS'];
  if (call.method !== 'GET') parts.push(`-X ${call.method}`);
  if (call.tokenFile !== undefined) parts.push('-H @-');
  for (const [name, value] of Object.entries(call.headers)) parts.push(`-H ${quote(`${name}: ${value}`)}`);
  if (call.body !== undefined) parts.push(`--data-binary ${quote(call.body)}`);
  parts.push(quote(call.url.href));
  const command = parts.join(' ');
  if (call.tokenFile === undefined) return command;
  return `printf 'Authorization: Bearer %s' "$(cat ${quote(call.tokenFile)})" | ${command}`;
}

/** For a POSIX shell. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

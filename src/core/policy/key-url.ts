/** What a URL has before its host, where keys may be fetched from it. */
const MAX_URL_CHARACTERS = 2048;

/**
 * Why keys are not fetched from a URL; undefined when they may be. Whoever can change what is read on its way could put keys
 * of their own there, so it is https; http only to this machine, which the server's configuration has to allow besides.
 */
export function whyNoKeyUrl(text: string): string | undefined {
  if (text.length > MAX_URL_CHARACTERS) return `it has more than ${MAX_URL_CHARACTERS} characters`;
  if (!URL.canParse(text) || text.trim() !== text) return 'it is not a URL';
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'it does not begin with "https://"';
  if (url.username !== '' || url.password !== '')
    return 'it has a user name or password, which many people could read here';
  if (url.hash !== '') return 'it has a fragment, which is never sent';
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    return 'whoever stands between could put other keys there. Use "https://"';
  }
  return undefined;
}

/** As `URL` spells hosts: 127.1 is 127.0.0.1 there. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(hostname);
}

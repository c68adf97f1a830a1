import type { SinkItem } from './item.ts';
import { uidOf } from './ocsf-event.ts';

/** An event of Splunk's HTTP Event Collector around `data`, which is JSON. `uid` is indexed: what duplicates are found by (`| dedup uid`). */
export function toSplunk(
  item: SinkItem,
  data: string,
  o: { readonly host: string; readonly sourcetype: string },
): string {
  const seconds = (item.event.time / 1000).toFixed(3);
  const about = JSON.stringify({
    time: Number(seconds),
    host: o.host,
    source: 'writ:audit',
    sourcetype: o.sourcetype,
    fields: { uid: uidOf(item), kind: item.event.kind },
  });
  return `${about.slice(0, -1)},"event":${data}}`;
}

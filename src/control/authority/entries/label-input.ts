import type { Refuse } from './entry-name.ts';

const MAX_LABELS = 64;
const MAX_LABEL_PREFIX_CHARACTERS = 253;

const dnsSubdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
const labelName = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

/** Labels as Kubernetes has them. */
export function checkLabels(labels: Readonly<Record<string, string>>, refuse: Refuse): void {
  const entries = Object.entries(labels);
  if (entries.length > MAX_LABELS) {
    refuse('/labels', `must have at most ${MAX_LABELS} members`);
    return;
  }
  for (const [key, value] of entries) {
    const pointer = `/labels/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (!isLabelKey(key)) {
      refuse(pointer, 'must have a key like app or example.org/app (as in Kubernetes), its name at most 63 characters');
    }
    if (value !== '' && !labelName.test(value)) {
      refuse(pointer, 'must have a value of at most 63 letters, digits and inner dashes, dots and underscores');
    }
  }
}

function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/');
  if (slash === -1) return labelName.test(key);
  const prefix = key.slice(0, slash);
  return (
    prefix.length <= MAX_LABEL_PREFIX_CHARACTERS && dnsSubdomain.test(prefix) && labelName.test(key.slice(slash + 1))
  );
}

/** By UTF-16 code unit: for the ASCII names that are stored the same order as that of the database, on every machine. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

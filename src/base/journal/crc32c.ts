/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4): finds torn writes and decayed disks, not forgery. Node's zlib has only the
 * other CRC-32. Eight tables, so that eight bytes are taken per step. `seed` 0 gives the standard's values.
 */
export function crc32c(data: Uint8Array, start = 0, end = data.length, seed = 0): number {
  let crc = ~seed;
  let i = start;
  for (; i + 8 <= end; i += 8) {
    const low = crc ^ word(data, i);
    crc =
      at(7, low) ^
      at(6, low >>> 8) ^
      at(5, low >>> 16) ^
      at(4, low >>> 24) ^
      at(3, data[i + 4] as number) ^
      at(2, data[i + 5] as number) ^
      at(1, data[i + 6] as number) ^
      at(0, data[i + 7] as number);
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ at(0, crc ^ (data[i] as number));
  return ~crc >>> 0;
}

const POLYNOMIAL = 0x82f63b78;

/** Table k at k × 256: the effect of a byte that k more bytes follow. */
const tables = buildTables();

function at(table: number, index: number): number {
  return tables[table * 256 + (index & 0xff)] as number;
}

function word(data: Uint8Array, i: number): number {
  return (
    (data[i] as number) |
    ((data[i + 1] as number) << 8) |
    ((data[i + 2] as number) << 16) |
    ((data[i + 3] as number) << 24)
  );
}

function buildTables(): Int32Array {
  const built = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    built[byte] = crc;
  }
  for (let i = 256; i < built.length; i++) {
    const before = built[i - 256] as number;
    built[i] = (before >>> 8) ^ (built[before & 0xff] as number);
  }
  return built;
}

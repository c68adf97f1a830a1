// Only the ASN.1 part of node-forge is loaded: a tenth of the start-up time, and none of its RSA, TLS or random code in reach.
declare module 'node-forge/lib/asn1.js' {
  import type { asn1 } from 'node-forge';

  const forgeAsn1: typeof asn1;
  export default forgeAsn1;
}

export { hardenedServer } from '../../wire/hardened-server.ts';

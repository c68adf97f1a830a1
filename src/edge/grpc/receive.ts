export { readable, tolerant, Unreadable } from '../../wire/receive.ts';

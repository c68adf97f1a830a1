export { ServerStream } from '../../wire/server-stream.ts';

export { RateLimit } from '../../base/rate-limit.ts';

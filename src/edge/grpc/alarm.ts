export { Alarm } from '../../wire/alarm.ts';

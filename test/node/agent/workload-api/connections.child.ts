import { connect } from 'node:net';

// Connects, hands the connection to the parent, and ends: what lives on is a connection whose process is gone.
const socket = connect(process.argv[2] ?? '', () => {
  process.send?.('connection', socket, {}, () => process.exit());
});

// pino-loki: node pino.mjs URL LINES. App pino, structured metadata trace_id.
import pino from 'pino';

const [host, lines] = [process.argv[2], Number(process.argv[3])];
const transport = pino.transport({
  target: 'pino-loki',
  options: { host, batching: { interval: 1 }, labels: { app: 'pino' }, structuredMetaKey: 'meta' },
});
// On a busy machine the worker takes a while to start.
await new Promise((resolve) => transport.on('ready', resolve));
const logger = pino(transport);
for (let i = 0; i < lines; i++) logger.warn({ n: i, meta: { trace_id: `t${i}` } }, `line ${i}`);
await new Promise((resolve) => setTimeout(resolve, 2500));
// The worker sends what is left, then ends.
const closed = new Promise((resolve) => transport.on('close', resolve));
transport.end();
await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 20000))]);
process.exit(0);

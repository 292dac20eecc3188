// pino-loki: node pino.mjs URL LINES. App pino, structured metadata trace_id.
import pino from 'pino';

const [host, lines] = [process.argv[2], Number(process.argv[3])];
const transport = pino.transport({
  target: 'pino-loki',
  options: { host, batching: { interval: 1 }, labels: { app: 'pino' }, structuredMetaKey: 'meta' },
});
const logger = pino(transport);
for (let i = 0; i < lines; i++) logger.warn({ n: i, meta: { trace_id: `t${i}` } }, `line ${i}`);
await new Promise((resolve) => setTimeout(resolve, 2500));
transport.end();
// The worker sends what is left, then ends.
await new Promise((resolve) => setTimeout(resolve, 500));
process.exit(0);

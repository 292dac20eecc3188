// winston-loki, JSON and protobuf: node winston.mjs URL LINES. Apps winston-json and winston-proto.
import winston from 'winston';
import LokiTransport from 'winston-loki';

const [host, lines] = [process.argv[2], Number(process.argv[3])];
let failures = 0;
for (const [app, json] of [['winston-json', true], ['winston-proto', false]]) {
  const transport = new LokiTransport({
    host, json, labels: { app }, interval: 1, format: winston.format.json(), onConnectionError: () => failures++,
  });
  const logger = winston.createLogger({ transports: [transport] });
  for (let i = 0; i < lines; i++) logger.info(`line ${i}`, { n: i, text: 'a "b" \n c' });
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await transport.flush();
  logger.close();
}
process.exit(failures ? 1 : 0);

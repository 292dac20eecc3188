// The OpenTelemetry SDK for JavaScript: node otel.mjs URL LINES. Services js-json, js-gzip and js-proto.
import { SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter as JsonExporter } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtoExporter } from '@opentelemetry/exporter-logs-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';

const [url, lines] = [process.argv[2], Number(process.argv[3])];
const kinds = [
  ['js-json', new JsonExporter({ url: `${url}/otlp/v1/logs` })],
  ['js-gzip', new JsonExporter({ url: `${url}/otlp/v1/logs`, compression: 'gzip' })],
  ['js-proto', new ProtoExporter({ url: `${url}/otlp/v1/logs`, compression: 'gzip' })],
];
for (const [name, exporter] of kinds) {
  const provider = new LoggerProvider({
    resource: resourceFromAttributes({ 'service.name': name, 'host.name': 'h' }),
    processors: [new BatchLogRecordProcessor({ exporter })],
  });
  const logger = provider.getLogger('scope', '1.0');
  for (let i = 0; i < lines; i++) {
    logger.emit({
      severityNumber: SeverityNumber.WARN,
      severityText: 'WARN',
      body: `line ${i}`,
      attributes: { 'user.id': i, nested: { a: [1, 'x'] } },
    });
  }
  await provider.forceFlush();
  await provider.shutdown();
}

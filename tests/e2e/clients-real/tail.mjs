// A WebSocket client that offers compression, as browsers do: node tail.mjs URL LINES APP. It reads the tail of an app until it has
// seen so many lines, then closes; prints what it saw as JSON.
import WebSocket from 'ws';

const [url, lines] = [process.argv[2].replace('http', 'ws'), Number(process.argv[3])];
const query = new URLSearchParams({ query: `{app="${process.argv[4]}"} |= "line"` });
const socket = new WebSocket(`${url}/loki/api/v1/tail?${query}`, { perMessageDeflate: true, origin: 'http://grafana.example' });
const seen = { values: [], pings: 0, extensions: '', closed: 0, binary: 0 };
socket.on('open', () => { seen.extensions = socket.extensions; console.error('open'); });
socket.on('ping', () => seen.pings++);
socket.on('message', (data, isBinary) => {
  seen.binary += isBinary ? 1 : 0;
  for (const stream of JSON.parse(data).streams) seen.values.push(...stream.values);
  if (seen.values.length >= lines) setTimeout(() => socket.close(1000), 1500);
});
socket.on('close', (code) => { seen.closed = code; console.log(JSON.stringify(seen)); });
socket.on('error', (error) => { console.error(String(error)); process.exit(1); });
setTimeout(() => process.exit(2), 30000).unref();

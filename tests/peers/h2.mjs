// HTTP/1.1 in, HTTP/2 with prior knowledge out: the suite speaks the one, and the gateway is to be reached by the other.
//   node h2.mjs URL
// Prints `listening on http://127.0.0.1:PORT/PATH`.
import http from 'node:http';
import http2 from 'node:http2';

const url = new URL(process.argv[2]);
const HOP = ['connection', 'keep-alive', 'transfer-encoding', 'host', 'upgrade', 'http2-settings', 'te'];
const passed = (headers) => Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP.includes(name) && !name.startsWith(':')));

let session = null;
function connected() {
  if (!session || session.closed || session.destroyed) {
    session = http2.connect(url.origin);
    session.on('error', (error) => console.error(String(error)));
  }
  return session;
}

const server = http.createServer((request, answer) => {
  const head = { ':method': request.method, ':path': request.url, ':authority': request.headers.host, ...passed(request.headers) };
  const stream = connected().request(head, { endStream: ['GET', 'DELETE'].includes(request.method) });
  stream.on('response', (headers) => {
    answer.writeHead(headers[':status'], passed(headers));
    answer.flushHeaders();
    stream.pipe(answer);
  });
  stream.on('error', () => (answer.headersSent ? answer.destroy() : answer.writeHead(502).end()));
  answer.on('close', () => answer.writableFinished || stream.close(http2.constants.NGHTTP2_CANCEL));
  if (!stream.writableEnded) request.pipe(stream);
});
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}${url.pathname}`));

// Makes a server of both eras look like one of a single era, for the runs in which client and server have none in common.
//   node single.mjs URL legacy|modern
// Prints `listening on http://127.0.0.1:PORT/PATH`. What the missing era's requests get is what real servers of the other
// kind answer: an SDK of 2025 says 400 and -32000 without an id, a stateless server says 400 and -32022.
import http from 'node:http';

const [url, era] = [new URL(process.argv[2]), process.argv[3]];
if (!['legacy', 'modern'].includes(era)) throw new Error(`no such era: ${era}`);
const MODERN = '2026-07-28';
const agent = new http.Agent({ keepAlive: true });

const refuse = (answer, id, error) => {
  answer.writeHead(400, { 'content-type': 'application/json' });
  answer.end(JSON.stringify({ jsonrpc: '2.0', id, error }));
};

function refused(request, body, answer) {
  if (era === 'modern' && request.method !== 'POST') {
    answer.writeHead(405, { allow: 'POST' }).end();
    return true;
  }
  let message = null;
  try {
    message = JSON.parse(body);
  } catch {
    // What is no JSON is the server's to refuse.
  }
  const claim = message?.params?._meta?.['io.modelcontextprotocol/protocolVersion'];
  const isModern = claim === MODERN || request.headers['mcp-protocol-version'] === MODERN;
  if (isModern === (era === 'modern')) return false;
  if (isModern) refuse(answer, null, { code: -32000, message: 'Bad Request: Server not initialized' });
  else {
    const data = { supported: [MODERN], requested: message?.params?.protocolVersion ?? '2025-03-26' };
    refuse(answer, message?.id ?? null, { code: -32022, message: 'Unsupported protocol version', data });
  }
  return true;
}

const HOP = ['connection', 'keep-alive', 'transfer-encoding'];
const passed = (headers) => Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP.includes(name)));

const server = http.createServer((request, answer) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    if (refused(request, body, answer)) return;
    const headers = { ...passed(request.headers), host: url.host, 'content-length': body.length };
    const options = { hostname: url.hostname, port: url.port, path: request.url, method: request.method, headers, agent };
    const onward = http.request(options, (theirs) => {
      answer.writeHead(theirs.statusCode, passed(theirs.headers));
      answer.flushHeaders();
      theirs.pipe(answer);
      theirs.on('error', () => answer.destroy());
    });
    onward.on('error', () => (answer.headersSent ? answer.destroy() : answer.writeHead(502).end()));
    // Leaving is a message in one of the eras.
    answer.on('close', () => answer.writableFinished || onward.destroy());
    onward.end(body);
  });
});
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}${url.pathname}`));

// One tool call over WebSocket, by Node's own client, with the handshake of the revisions that have one.
//   node websocket.mjs URL TOOL ARGUMENTS
const [url, name, args] = process.argv.slice(2);
const socket = new WebSocket(url, ['mcp']);
const waiting = new Map();
let next = 1;

socket.addEventListener('message', ({ data }) => {
  const message = JSON.parse(data);
  waiting.get(message.id)?.(message);
});
const opened = new Promise((resolve, reject) => {
  socket.addEventListener('open', resolve);
  socket.addEventListener('error', () => reject(new Error('no connection')));
});
socket.addEventListener('close', ({ code }) => {
  if (waiting.size) {
    console.error(`closed: ${code}`);
    process.exit(1);
  }
});

const send = (message) => socket.send(JSON.stringify({ jsonrpc: '2.0', ...message }));
const ask = (method, params) =>
  new Promise((resolve) => {
    const id = next++;
    waiting.set(id, (answer) => (waiting.delete(id), resolve(answer)));
    send({ id, method, params });
  });

await opened;
if (socket.protocol !== 'mcp') throw new Error(`subprotocol: ${socket.protocol}`);
const clientInfo = { name: 'websocket', version: '1' };
await ask('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo });
send({ method: 'notifications/initialized' });
const answer = await ask('tools/call', { name, arguments: JSON.parse(args) });
console.log(JSON.stringify(answer));
waiting.clear();
socket.close();
process.exitCode = answer.result && !answer.result.isError ? 0 : 1;

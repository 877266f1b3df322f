// A client of the official TypeScript SDK that does what a scenario of the conformance suite asks of it.
//   node client.mjs SDK_FOLDER URL
// The suite names the scenario in MCP_CONFORMANCE_SCENARIO and the revision in MCP_CONFORMANCE_PROTOCOL_VERSION.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [sdk, url] = process.argv.slice(2);
const resolve = createRequire(`${sdk}/`).resolve;
const { Client, StreamableHTTPClientTransport } = await import(pathToFileURL(resolve('@modelcontextprotocol/client')).href);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const modern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === '2026-07-28';

// Some of the suite's servers know neither server/discover nor initialize: the client is told what they would say.
async function discovering(input, init) {
  const message = typeof init?.body === 'string' ? JSON.parse(init.body) : null;
  if (message?.method !== 'server/discover') return fetch(input, init);
  const result = {
    resultType: 'complete',
    supportedVersions: ['2026-07-28'],
    capabilities: { tools: {}, resources: {}, prompts: {} },
    ttlMs: 0,
    cacheScope: 'private',
  };
  return Response.json({ jsonrpc: '2.0', id: message.id, result });
}

async function connected(capabilities, { told = false, handlers } = {}) {
  const versionNegotiation = modern || told ? { versionNegotiation: { mode: 'auto' } } : {};
  const client = new Client({ name: 'conformance', version: '1' }, { capabilities, ...versionNegotiation });
  handlers?.(client);
  await client.connect(new StreamableHTTPClientTransport(new URL(url), told ? { fetch: discovering } : {}));
  return client;
}

async function listing() {
  const client = await connected({});
  await client.listTools();
  return client;
}

const scenarios = {
  initialize: listing,
  'request-metadata': () => connected({ roots: { listChanged: true }, sampling: {}, elicitation: {} }),
  async tools_call() {
    const client = await listing();
    await client.callTool({ name: 'add_numbers', arguments: { a: 2, b: 40 } });
    return client;
  },
  async 'elicitation-sep1034-client-defaults'() {
    const handlers = (client) => client.setRequestHandler('elicitation/create', async () => ({ action: 'accept', content: {} }));
    const client = await connected({ elicitation: { form: { applyDefaults: true } } }, { handlers });
    await client.listTools();
    await client.callTool({ name: 'test_client_elicitation_defaults', arguments: {} });
    return client;
  },
  async 'sse-retry'() {
    const client = await listing();
    await client.callTool({ name: 'test_reconnection', arguments: {} });
    return client;
  },
  async 'http-standard-headers'() {
    const client = await connected({}, { told: true });
    const { tools } = await client.listTools();
    await client.callTool({ name: tools[0].name, arguments: {} });
    const { resources } = await client.listResources();
    await client.readResource({ uri: resources[0].uri });
    const { prompts } = await client.listPrompts();
    await client.getPrompt({ name: prompts[0].name, arguments: {} });
    return client;
  },
  async 'http-custom-headers'() {
    const client = await connected({}, { told: true });
    await client.listTools();
    for (const { name, arguments: args } of JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT).toolCalls)
      await client.callTool({ name, arguments: args });
    return client;
  },
  async 'http-invalid-tool-headers'() {
    const client = await connected({}, { told: true });
    const { tools } = await client.listTools();
    for (const { name } of tools) await client.callTool({ name, arguments: { region: 'eu-1' } }).catch(() => {});
    return client;
  },
  async 'sep-2322-client-request-state'() {
    const accept = async () => ({ action: 'accept', content: { confirmed: true } });
    const handlers = (client) => client.setRequestHandler('elicitation/create', accept);
    const client = await connected({ elicitation: {} }, { told: true, handlers });
    for (const name of ['echo_state', 'no_state', 'unrelated']) await client.callTool({ name: `test_mrtr_${name}`, arguments: {} });
    // A result without its type is no result of this revision.
    await client.callTool({ name: 'test_mrtr_no_result_type', arguments: {} }).catch(() => {});
    return client;
  },
  async 'json-schema-ref-no-deref'() {
    const client = await connected({}, { told: true });
    await client.listTools();
    return client;
  },
};

const run = scenarios[scenario];
if (!run) throw new Error(`no such scenario here: ${scenario}`);
const client = await run();
await client.close();

"""An MCP client over HTTP/3 that is not ours: aioquic asks the gateway what http.client asks it over HTTP/1.1, and the
answers must be equal. Run by http3.sh, in a venv that has aioquic.

usage: http3.py URL AUTHORITY.pem, where URL is that of a gateway with `tls` and `http3: true` before the fixture
       http3.py URL AUTHORITY.pem TOOL ARGUMENTS, which makes one call and prints its answer
"""

import asyncio
import http.client
import json
import ssl
import sys
import urllib.parse

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamReset

LIMIT = 60  # seconds that any one event may take
REVISION = "2025-11-25"


def check(holds, message):
    if not holds:
        raise SystemExit(f"FAILED: {message}")


def headers(session, revision):
    told = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": revision,
    }
    if session:
        told["mcp-session-id"] = session
    return told


def messages(kind, body):
    """The JSON-RPC messages of an answer, event stream or not."""
    text = body.decode()
    if "event-stream" in kind:
        data = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
        return [json.loads(one) for one in data if one]
    return [json.loads(text)] if text else []


class Http1:
    """One connection of the standard library's client."""

    name = "HTTP/1.1"
    revision = REVISION

    def __init__(self, url, authority):
        self.url = urllib.parse.urlsplit(url)
        context = ssl.create_default_context(cafile=authority)
        self.connection = http.client.HTTPSConnection("localhost", self.url.port, timeout=LIMIT, context=context)

    async def exchange(self, message, session):
        self.connection.request("POST", self.url.path, json.dumps(message), headers(session, self.revision))
        answer = self.connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


class Http3(QuicConnectionProtocol):
    """One connection of aioquic's client."""

    name = "HTTP/3"
    revision = REVISION

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.url, self.open = H3Connection(self._quic), None, {}

    def quic_event_received(self, event):
        if isinstance(event, StreamReset) and event.stream_id in self.open:
            self.open[event.stream_id][2].set_exception(RuntimeError(f"reset with {event.error_code}"))
        for one in self.http.handle_event(event):
            if one.stream_id not in self.open:
                continue
            head, body, done = self.open[one.stream_id]
            if isinstance(one, HeadersReceived):
                head.update({name.decode(): value.decode() for name, value in one.headers})
            elif isinstance(one, DataReceived):
                body.extend(one.data)
            if one.stream_ended and not done.done():
                done.set_result(None)

    async def exchange(self, message, session):
        stream = self._quic.get_next_available_stream_id()
        self.open[stream] = head, body, done = {}, bytearray(), asyncio.get_running_loop().create_future()
        pseudo = {":method": "POST", ":scheme": "https", ":authority": self.url.netloc, ":path": self.url.path}
        both = {**pseudo, **headers(session, self.revision)}
        self.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in both.items()])
        self.http.send_data(stream, json.dumps(message).encode(), end_stream=True)
        self.transmit()
        await asyncio.wait_for(done, LIMIT)
        del self.open[stream]
        return int(head.pop(":status")), head, bytes(body)


async def talk(client):
    """Everything asked, and what was answered: statuses, kinds and messages."""
    answers, session = [], None

    async def ask(id, method, params=None):
        nonlocal session
        message = {"jsonrpc": "2.0", "method": method}
        message |= {"id": id} if id is not None else {}
        message |= {"params": params} if params is not None else {}
        status, head, body = await client.exchange(message, session)
        session = head.get("mcp-session-id") or session
        kind = head.get("content-type", "").split(";")[0]
        answers.append((method, status, kind, messages(kind, body)))
        return answers[-1]

    client_info = {"name": "peers", "version": "0"}
    opening = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client_info}
    _, status, _, got = await ask(1, "initialize", opening)
    check(status == 200 and got and "result" in got[-1], f"{client.name}: initialize: {status} {got}")
    await ask(None, "notifications/initialized")
    _, status, _, got = await ask(2, "tools/list", {})
    names = {tool["name"] for tool in got[-1]["result"]["tools"]} if status == 200 else set()
    check("echo" in names and "test_tool_with_progress" in names, f"{client.name}: tools/list: {status} {names}")
    await ask(3, "tools/call", {"name": "echo", "arguments": {"message": "héllo " * 2000}})
    check("héllo " * 2000 in json.dumps(answers[-1][3], ensure_ascii=False), f"{client.name}: echo: {answers[-1]}")
    progress = {"name": "test_tool_with_progress", "arguments": {}, "_meta": {"progressToken": "p"}}
    _, status, kind, got = await ask(4, "tools/call", progress)
    check(kind == "text/event-stream", f"{client.name}: the answer with progress is {kind}")
    told = [one for one in got if one.get("method") == "notifications/progress"]
    check(len(told) >= 2 and got[-1].get("id") == 4, f"{client.name}: progress: {got}")
    await ask(5, "tools/call", {"name": "no such tool", "arguments": {}})
    return answers


async def call(client, tool, arguments):
    """One call of a tool, in a session of its own."""
    opening = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "peers", "version": "0"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
    status, head, greeting = await client.exchange(message, None)
    check(status == 200, f"initialize: {status}")
    session = head.get("mcp-session-id")
    # What was agreed on is what is spoken from here on.
    client.revision = messages(head.get("content-type", "").split(";")[0], greeting)[-1]["result"]["protocolVersion"]
    await client.exchange({"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
    message = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": json.loads(arguments)}}
    status, head, body = await client.exchange(message, session)
    answer = messages(head.get("content-type", "").split(";")[0], body)[-1]
    print(json.dumps(answer))
    check(status == 200 and not answer.get("result", {"isError": True}).get("isError"), f"{tool}: {status}")


async def main(url, authority, *one):
    expected = await talk(Http1(url, authority)) if not one else []
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    configuration.load_verify_locations(authority)
    parsed = urllib.parse.urlsplit(url)
    async with connect("127.0.0.1", parsed.port, configuration=configuration, create_protocol=Http3) as client:
        client.url = parsed._replace(netloc=f"localhost:{parsed.port}")
        if one:
            return await call(client, *one)
        got = await talk(client)
    for one, other in zip(expected, got, strict=True):
        check(one == other, f"{one[0]} differs:\n over HTTP/1.1 {one}\n over HTTP/3   {other}")
        print(f"ok: {one[0]}, {one[1]} {one[2] or 'empty'}, {len(one[3])} messages")
    print("http3: every answer over HTTP/3 equals the one over HTTP/1.1")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

#!/usr/bin/env python3
"""Sends a known number of messages through a gateway in front of the fixture, and prints it: MESSAGES SESSIONS.

    traffic.py URL
"""

import sys

import peer


def stateless(url):
    """Requests of the stateless revision: a row each, and one for each message that comes back."""
    client, messages = peer.Client(url), 0
    calls = [("tools/list", {})] + [("tools/call", {"name": "echo", "arguments": {"message": "é" * n}}) for n in range(40)]
    calls += [("tools/call", {"name": "no_such_tool", "arguments": {}}), ("prompts/list", {}), ("resources/list", {})]
    for id, (method, params) in enumerate(calls):
        messages += 1 + len(client.ask(id, method, params))
    # Three notifications and the answer on one stream.
    progress = client.ask(1000, "tools/call", {"name": "test_tool_with_progress", "arguments": {}}, {"progressToken": "p"})
    peer.check(len(progress) == 4, f"not 3 notifications and an answer: {progress}")
    return messages + 1 + len(progress)


def session(url):
    """One session of an older revision, from `initialize` to DELETE, which is no message."""
    client = peer.Client(url, "2025-11-25")
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "peers", "version": "0"}}
    messages = 1 + len(client.ask(0, "initialize", hello))
    peer.check(client.session, "no session")
    status, _ = client.send("POST", {"jsonrpc": "2.0", "method": "notifications/initialized", "params": {}})
    peer.check(status == 202, f"notification: {status}")
    messages += 1
    messages += 1 + len(client.ask(1, "tools/call", {"name": "echo", "arguments": {"message": "hello"}}))
    client.send("DELETE")
    return messages


def main():
    url, sessions = sys.argv[1], 3
    print(stateless(url) + sum(session(url) for _ in range(sessions)), sessions)


main()

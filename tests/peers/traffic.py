#!/usr/bin/env python3
"""Sends a known number of messages through a gateway in front of the fixture, and prints it: MESSAGES SESSIONS CALLS LEAKED.

    traffic.py URL          honest traffic of both eras
    traffic.py URL KEY      as the holder of a key, with a secret in some arguments, which `echo` sends back

CALLS are those of the tool `echo`; LEAKED are results that hold the secret, if the gateway lets them pass.
"""

import random
import string
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


def leaking(url, key):
    """Calls of a principal; every third has a secret, made for this run."""
    client = peer.Client(url, key=key)
    secret = "ghp_" + "".join(random.choices(string.ascii_letters + string.digits, k=36))
    for id in range(12):
        text = f"token {secret}" if id % 3 == 0 else "nothing"
        peer.check(client.echo(id, text), "the gateway changed what it was told only to watch")
    return 24, 12, 4


def main():
    if len(sys.argv) > 2:
        messages, calls, leaked = leaking(*sys.argv[1:])
        print(messages, 0, calls, leaked)
    else:
        url, sessions = sys.argv[1], 3
        print(stateless(url) + sum(session(url) for _ in range(sessions)), sessions, 40 + sessions, 0)


main()

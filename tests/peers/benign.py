#!/usr/bin/env python3
"""Records honest traffic of real servers behind `wiregate wrap`, and counts what the built-in rules say of it.

    benign.py NODE SERVERS GIT_SERVER FETCH_SERVER SQLITE_SERVER

What the servers serve is real text: documentation and code of the packages they come with. At most one result in 200 may
be flagged or worse; each that is, is told with its rules and its place, for a person to look at.
"""

import collections
import functools
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

import peer

MOST = 0.005  # share of results flagged or worse
KINDS = {".md", ".txt", ".js", ".mjs", ".ts", ".json", ".py", ".toml", ".yml", ".html", ".css", ".csv", ".rst"}


def texts(folder, count, largest=60_000):
    """Up to `count` files of a folder, spread over it evenly, in a fixed order."""
    fits = lambda path: path.suffix in KINDS and path.is_file() and 200 < path.stat().st_size <= largest
    files = sorted(path for path in pathlib.Path(folder).rglob("*") if fits(path))
    return files[:: max(1, len(files) // count)][:count]


class Server:
    """A server on stdio, behind the gateway."""

    def __init__(self, capture, name, command):
        wrap = [peer.binary("WIREGATE"), "wrap", "--name", name, "--capture", capture, "--"]
        self.process, self.next = peer.Process([*wrap, *command], stdin=True), 0
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "peers", "version": "0"}}
        self.ask("initialize", hello)
        self.tell("notifications/initialized")
        self.tools = {tool["name"] for tool in self.ask("tools/list", {})["result"]["tools"]}

    def tell(self, method):
        self.process.child.stdin.write(json.dumps({"jsonrpc": "2.0", "method": method}).encode() + b"\n")
        self.process.child.stdin.flush()

    def ask(self, method, params):
        self.next += 1
        answer = self.process.ask({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params})
        while answer.get("id") != self.next or "method" in answer:
            line = self.process.answers.get(timeout=peer.LIMIT)
            peer.check(line is not None, f"no answer to {method}")
            answer = json.loads(line)
        return answer

    def call(self, tool, **arguments):
        peer.check(tool in self.tools, f"no tool {tool} among {sorted(self.tools)}")
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def stop(self):
        self.process.stop()


def files(capture, node, servers, folder):
    server = Server(capture, "filesystem", [node, f"{servers}/.bin/mcp-server-filesystem", folder])
    found = texts(folder, 250)
    for path in found:
        server.call("read_text_file", path=str(path))
    for directory in sorted({path.parent for path in found})[:60]:
        server.call("list_directory", path=str(directory))
    server.call("directory_tree", path=str(found[0].parent))
    server.call("search_files", path=str(folder), pattern="**/*.md")
    server.call("read_multiple_files", paths=[str(path) for path in found[:8]])
    server.call("get_file_info", path=str(found[0]))
    server.stop()


def git(capture, command, folder, repository):
    run = lambda *words: subprocess.run(["git", "-C", repository, *words], check=True, stdout=subprocess.DEVNULL)
    run("init", "-q", "-b", "main", ".")
    run("config", "user.name", "A Developer")
    run("config", "user.email", "developer@example.com")
    for n, path in enumerate(texts(folder, 40, 20_000)):
        (pathlib.Path(repository) / f"{n:02}-{path.name}").write_bytes(path.read_bytes())
        run("add", ".")
        run("commit", "-q", "-m", f"Add {path.name}, as the release needs it")
    server = Server(capture, "git", [command, "--repository", repository])
    server.call("git_status", repo_path=repository)
    server.call("git_log", repo_path=repository, max_count=40)
    server.call("git_branch", repo_path=repository, branch_type="local")
    for n in range(39):
        server.call("git_show", repo_path=repository, revision=f"HEAD~{n}")
        server.call("git_diff", repo_path=repository, target=f"HEAD~{n}")
    server.stop()


def memory(capture, node, servers, folder):
    server = Server(capture, "memory", [node, f"{servers}/.bin/mcp-server-memory"])
    for path in texts(folder, 40, 4_000):
        note = path.read_text(errors="replace")
        server.call("create_entities", entities=[{"name": path.name, "entityType": "file", "observations": [note]}])
        server.call("search_nodes", query=path.stem)
    server.call("read_graph")
    server.stop()


def sqlite(capture, command, folder, database):
    server = Server(capture, "sqlite", [command, "--db-path", database])
    server.call("create_table", query="CREATE TABLE files (name TEXT, size INTEGER, changed TEXT, text TEXT)")
    for n, path in enumerate(texts(folder, 60, 8_000)):
        words = path.read_text(errors="replace").replace("'", "''").replace("\0", "")
        row = f"('{path.name}', {path.stat().st_size}, '2026-{n % 12 + 1:02}-{n % 28 + 1:02}T10:00:00Z', '{words}')"
        server.call("write_query", query=f"INSERT INTO files VALUES {row}")
        server.call("read_query", query=f"SELECT * FROM files WHERE name = '{path.name}' ORDER BY size LIMIT 3")
    server.call("list_tables")
    server.call("describe_table", table_name="files")
    server.call("read_query", query="SELECT name, size, changed FROM files WHERE size > 1000 ORDER BY changed DESC")
    server.stop()


def fetch(capture, command, folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        server = Server(capture, "fetch", [command, "--ignore-robots-txt"])
        for path in texts(folder, 40):
            url = f"http://127.0.0.1:{pages.server_port}/{path.relative_to(folder)}"
            server.call("fetch", url=url, max_length=20_000)
        server.stop()
        pages.shutdown()


def everything(capture, node, servers):
    server = Server(capture, "everything", [node, f"{servers}/.bin/mcp-server-everything", "stdio"])
    for n in range(20):
        server.call("echo", message=f"message {n} of twenty")
        server.call("get-sum", a=n, b=n * n)
    for tool in sorted(server.tools & {"get-tiny-image", "get-annotated-message", "get-structured-content", "get-resource-links"}):
        arguments = {"get-annotated-message": {"messageType": "success"}, "get-structured-content": {"location": "Chicago"}}
        server.call(tool, **arguments.get(tool, {}))
    for method in ["resources/list", "prompts/list", "resources/templates/list"]:
        server.ask(method, {})
    server.stop()


def main():
    node, servers, git_server, fetch_server, sqlite_server = sys.argv[1:]
    python = pathlib.Path(git_server).parent.parent / "lib"
    with tempfile.TemporaryDirectory() as tmp:
        capture, repository = f"{tmp}/capture", f"{tmp}/repository"
        pathlib.Path(repository).mkdir()
        files(capture, node, servers, servers)
        git(capture, git_server, servers, repository)
        memory(capture, node, servers, servers)
        sqlite(capture, sqlite_server, python, f"{tmp}/a.db")
        fetch(capture, fetch_server, servers)
        everything(capture, node, servers)
        report([row for row in peer.rows(capture)])


def report(rows):
    """Tells results and flags per server; too many of them end the run."""
    results, flagged, told = collections.Counter(), collections.Counter(), []
    for row in rows:
        if row["kind"] != "response" or row.get("action") is None:
            continue
        results[row["server"]] += 1
        if row["action"] != "allow":
            flagged[row["server"]] += 1
            told.append(f"{row['server']} {row['name']} seq {row['seq']}: {row['action']} {sorted(set(row['rule_ids']))}")
    print(f"{'server':<12} {'results':>8} {'flagged':>8}")
    for server, count in sorted(results.items()):
        print(f"{server:<12} {count:>8} {flagged[server]:>8}")
    all_results, all_flagged = results.total(), flagged.total()
    print(f"{'all':<12} {all_results:>8} {all_flagged:>8}  {all_flagged / all_results:.4f}")
    print("\n".join(told))
    peer.check(all_results > 500, "too few results to say anything")
    peer.check(all_flagged <= MOST * all_results, f"more than {MOST:.1%} of honest results flagged")


main()

#!/usr/bin/env python3
"""The rules of the house that no compiler checks: folders, arrows between the crates, module docs, lengths.

Not a linter: what clippy, rustfmt or cargo-deny can say stands in their own files. Needs Python 3.11 and cargo.
Prints one line for each breach and exits 1 when there is one. Long files are told, and break nothing.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent

FOLDERS = {".ci", ".config", ".github", "bench", "inspect", "proxy", "replay", "rules", "tests"}
FILES = {
    ".gitattributes", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "Cargo.lock", "Cargo.toml", "LICENSE",
    "README.md", "SECURITY.md", "clippy.toml", "deny.toml", "rust-toolchain.toml", "rustfmt.toml",
}

# Who may import whom. Rules are data and stand leftmost, so tests of any crate may load them.
EVERYTHING = {"inspect", "rules", "capture", "scan", "proxy", "replay", "bench", "tests"}
MAY_IMPORT = {
    "inspect": set(),
    "rules": set(),
    "capture": set(),
    "scan": {"inspect", "capture"},
    "proxy": {"inspect", "capture", "scan", "rules"},
    "replay": {"inspect", "capture", "scan", "rules", "proxy"},
    "bench": EVERYTHING - {"bench", "tests"},
    "tests": EVERYTHING - {"bench", "tests"},
}
MAY_TEST_WITH = {"inspect": {"rules"}, "rules": {"inspect"}, "capture": {"rules"}, "scan": {"rules"}}

# What must not be reachable at all, however many crates lie between.
NETWORK = {"async-std", "h2", "hyper", "mio", "quinn", "reqwest", "rustls", "smol", "socket2", "tokio", "ureq"}
# What the client of object stores stands on. Captures are read from and written to these, and by nothing else here.
STORES = {"h2", "hyper", "mio", "reqwest", "rustls", "socket2", "tokio"}
STORAGE = {"arrow-array", "object_store", "parquet", "rusqlite"}
CLOCKS = {"chrono", "jiff", "time"}
UNREACHABLE = {
    "inspect": NETWORK | STORAGE | CLOCKS,
    "rules": NETWORK | STORAGE | CLOCKS,
    "capture": NETWORK - STORES,
    "scan": NETWORK - STORES,
}

# Invariant 2: the detection core reads no clock, file, socket or environment and starts no thread.
WORLD = re.compile(
    r"\bstd::(?:env|fs|net|os|process|thread)\b|\bstd::io::(?:stdin|stdout|stderr)\b"
    r"|\bstd::time::(?!Duration)|\bstd::\{[^}]*\b(?:env|fs|net|process|thread)\b|\b(?:Instant|SystemTime)::now\b"
)
LONG = 500

breaches: list[str] = []


def breach(where: str, what: str) -> None:
    breaches.append(f"{where}: {what}")


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def tracked() -> list[str]:
    return [name for name in run("git", "ls-files", "-z").split("\0") if name and (ROOT / name).exists()]


def check_top_level(files: list[str]) -> None:
    for name in sorted({f.split("/")[0] for f in files if "/" in f} - FOLDERS):
        breach(name, "not one of the top-level folders")
    for name in sorted({f for f in files if "/" not in f} - FILES):
        breach(name, "not one of the root files")
    for name in sorted(FILES - set(files)):
        breach(name, "missing, or not committed")


def check_manifests(files: list[str]) -> None:
    root = tomllib.loads((ROOT / "Cargo.toml").read_text())
    if root["workspace"]["lints"]["rust"].get("unsafe_code") != "forbid":
        breach("Cargo.toml", 'workspace lints must hold unsafe_code = "forbid"')
    for name in files:
        if not name.endswith("Cargo.toml"):
            continue
        manifest = tomllib.loads((ROOT / name).read_text())
        if "patch" in manifest or "replace" in manifest:
            breach(name, "no [patch] and no [replace]: we build what the registry holds")
        if name == "Cargo.toml" or pathlib.Path(name).parent.as_posix() not in root["workspace"]["members"]:
            continue
        if manifest.get("lints", {}).get("workspace") is not True:
            breach(name, "needs [lints] workspace = true (it forbids unsafe code)")
        for table in ("dependencies", "dev-dependencies", "build-dependencies"):
            for dependency, spec in manifest.get(table, {}).items():
                if not (isinstance(spec, dict) and spec.get("workspace")):
                    breach(name, f"{dependency}: versions stand in the workspace table, write {dependency}.workspace = true")


def check_arrows() -> None:
    try:
        metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))
    except subprocess.CalledProcessError:
        breach("Cargo.lock", "cargo metadata --locked failed (said above), so no arrow was checked")
        return
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    members = {names[i]: i for i in metadata["workspace_members"]}
    for unknown in sorted(set(members) - set(MAY_IMPORT)):
        breach(unknown, "a crate that .ci/house.py does not know: say there what it may import")

    for node in metadata["resolve"]["nodes"]:
        owner = names[node["id"]]
        for edge in node["deps"] if owner in members else ():
            target = names[edge["pkg"]]
            if target not in members:
                continue
            allowed = MAY_IMPORT.get(owner, set())
            if {kind["kind"] for kind in edge["dep_kinds"]} == {"dev"}:
                allowed = allowed | MAY_TEST_WITH.get(owner, set())
            if target not in allowed:
                breach(owner, f"must not import {target}: arrows only leftwards")

    # `cargo tree -p` chooses features for that crate alone; metadata would show what the whole workspace turns on.
    for crate, forbidden in UNREACHABLE.items():
        tree = run("cargo", "tree", "--locked", "-p", crate, "-e", "normal,build", "--target", "all", "--prefix", "none")
        for package in sorted({line.split()[0] for line in tree.splitlines() if line} & forbidden):
            breach(crate, f"reaches {package} (cargo tree -p {crate} -e normal,build --target all -i {package})")


def check_sources(files: list[str]) -> list[tuple[int, str]]:
    long = []
    for name in files:
        if not name.endswith(".rs"):
            continue
        lines = (ROOT / name).read_text().splitlines()
        if not lines or not lines[0].startswith(("//!", "#!")) or not any(l.startswith("//!") for l in lines):
            breach(f"{name}:1", "a file opens with //!: what it is and what it is not")
        if len(lines) > LONG:
            long.append((len(lines), name))
        if name.startswith("inspect/src/"):
            check_no_world(name, lines)
    return sorted(long, reverse=True)


def check_no_world(name: str, lines: list[str]) -> None:
    for number, line in enumerate(lines, 1):
        if line.strip() == "#[cfg(test)]":  # test modules stand last
            return
        if not line.lstrip().startswith("//") and (found := WORLD.search(line)):
            breach(f"{name}:{number}", f"{found[0]}: inspect reads no clock, file, socket or environment")


def main() -> int:
    files = tracked()
    check_top_level(files)
    check_manifests(files)
    check_arrows()
    for length, name in check_sources(files):
        print(f"note: {name} has {length} lines (the guide asks for about 400; name a concept and cut there)")
    for line in breaches:
        print(line)
    print(f"house: {len(breaches)} breaches in {len(files)} files")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the hypervisor core must not become: large, recursive, hungry for stack, or careless with
secrets. Compiles the core once more as Xen would, with gcc's own call graph and stack usage (gcc
manual, "Developer Options", -fcallgraph-info), and looks at all of it.

Not counted: crypto/, and what the port does when it is called. An indirect call is the port's,
except in the page-table walk: that one reads through Memory::word.

  check_bounds.py BUILD_DIR --core      the core
  check_bounds.py BUILD_DIR --self-test code that breaks each bound is found to
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "hypervisor" / "core"
TARGET = "sgm_hypervisor_core_xen"

MAX_LINES = 2500
MAX_FRAME = 1024  # bytes of stack of one function
MAX_CHAIN = 4096  # of the deepest chain of calls from sgm_op down

NODE = re.compile(r'node: \{ title: "([^"]+)" label: "([^"]+)"')
EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
FRAME = re.compile(r"(\d+) bytes \((static|dynamic|dynamic,bounded)\)")
INDIRECT = "__indirect_call"
CALLS_BACK = "sgm::hypervisor::Translator::"
CALLED_BACK = "_ZN3sgm10hypervisor6Memory4wordEm"

# Tags and secrets are compared in crypto/ alone, in constant time. What `search` compares is guest
# memory with a pattern of the IDS.
COMPARES_GUEST_MEMORY = {"search.cpp"}
COMPARISON = re.compile(r"memcmp|ranges::equal|std::equal|constant_time|"
                        r"\b\w*(?:tag|secret|material|salt)\w*(?:\(\))?\s*[=!]=|"
                        r"[=!]=\s*\w*(?:tag|secret|material|salt)\w*\b")


class Graph:
    def __init__(self):
        self.frames = {}  # function: bytes of stack
        self.calls = {}  # function: functions it calls
        self.names = {}  # function: as people write it
        self.trouble = []

    def add(self, text):
        for title, label in NODE.findall(text):
            parts = label.split("\\n")
            frame = FRAME.search(label)
            if frame is None:
                continue
            self.names[title] = parts[0]
            self.frames[title] = int(frame[1])
            if frame[2] == "dynamic":
                self.trouble.append(f"the stack of {parts[0]} is not bounded")
        for source, target in EDGE.findall(text):
            self.calls.setdefault(source, set()).add(target)

    def called_by(self, function):
        for target in sorted(self.calls.get(function, ())):
            if target == INDIRECT:
                if CALLS_BACK in self.names.get(function, ""):
                    yield CALLED_BACK
            elif target in self.frames:
                yield target

    def deepest(self):
        """(bytes, chain) of the deepest chain; a cycle goes to `trouble` and ends the search."""
        best, open_chain = {}, []
        for root in sorted(self.frames):
            stack = [(root, self.called_by(root))] if root not in best else []
            open_chain = [root]
            while stack:
                function, callees = stack[-1]
                callee = next(callees, None)
                if callee is None:
                    depth = max(((best[c][0], c) for c in self.called_by(function)),
                                default=(0, None))
                    chain = best[depth[1]][1] if depth[1] else ()
                    best[function] = (self.frames[function] + depth[0], (function, *chain))
                    stack.pop()
                    open_chain.pop()
                elif callee in open_chain:
                    names = [self.names[f] for f in open_chain[open_chain.index(callee):]]
                    self.trouble.append("recursion: " + " -> ".join(names + [names[0]]))
                    return 0, ()
                elif callee not in best:
                    stack.append((callee, self.called_by(callee)))
                    open_chain.append(callee)
        return max(best.values(), default=(0, ()))


def commands(build):
    entries = json.loads((build / "compile_commands.json").read_text())
    found = [entry for entry in entries if f"{TARGET}.dir" in entry["command"]]
    if not found:
        sys.exit(f"{build}/compile_commands.json does not know {TARGET}")
    return found


def compile_graph(entry, source, into):
    """The call graph of `source`, compiled as the core's file of `entry` is."""
    words = [word for word in shlex.split(entry["command"]) if not word.endswith("ccache")]
    words[words.index("-o") + 1] = str(into / "object.o")
    words[words.index("-c") + 1] = str(source)
    words = [word for word in words if not word.startswith("-Wstack-usage")]
    subprocess.run([*words, "-fcallgraph-info=su"], cwd=entry["directory"], check=True)
    graphs = list(into.glob("*.ci"))
    text = graphs[0].read_text()
    graphs[0].unlink()
    return text


def check_graph(graph):
    trouble = []
    for function, frame in graph.frames.items():
        if frame > MAX_FRAME:
            trouble.append(f"{graph.names[function]} takes {frame} bytes of stack, "
                           f"{MAX_FRAME} are allowed")
    depth, chain = graph.deepest()
    if depth > MAX_CHAIN:
        trouble.append(f"a chain of calls takes {depth} bytes of stack, {MAX_CHAIN} are allowed: " +
                       " -> ".join(graph.names[f] for f in chain))
    return graph.trouble + trouble, depth, chain


def check_source(name, text):
    code = re.sub(r"//[^\n]*", "", text)
    return [f"{name} compares {match.group(0)!r}: only crypto/ compares secrets"
            for match in COMPARISON.finditer(code)]


def core_files():
    return sorted(path for path in CORE.iterdir()
                  if path.suffix in (".cpp", ".hpp") and not path.stem.endswith("_test"))


def check_core(build):
    files = core_files()
    lines = sum(len(path.read_text().splitlines()) for path in files)
    trouble = [] if lines <= MAX_LINES else [f"the core has {lines} lines, {MAX_LINES} are allowed"]
    for path in files:
        if path.name in COMPARES_GUEST_MEMORY:
            continue
        trouble += check_source(path.name, path.read_text())
    graph = Graph()
    with tempfile.TemporaryDirectory() as scratch:
        for entry in commands(build):
            graph.add(compile_graph(entry, Path(entry["file"]), Path(scratch)))
    if CALLED_BACK not in graph.frames:
        trouble.append("Memory::word is not in the call graph: this check follows the wrong name")
    found, depth, chain = check_graph(graph)
    print(f"{lines} lines of {MAX_LINES}; {len(graph.frames)} functions; largest frame "
          f"{max(graph.frames.values())} of {MAX_FRAME} bytes; deepest chain {depth} of "
          f"{MAX_CHAIN} bytes:")
    for function in chain:
        print(f"  {graph.frames[function]:5}  {graph.names[function]}")
    return trouble + found


BAD = {
    "recursion": """
        int odd(int n);
        [[gnu::noinline]] int even(int n) { return n == 0 ? 1 : odd(n - 1) + 2; }
        [[gnu::noinline]] int odd(int n) { return n == 0 ? 0 : even(n - 1) + 3; }""",
    "bytes of stack, 1024": """
        void use(char*);
        void large() { char room[1100]; use(room); }""",
    "a chain of calls": "void use(char*);\n" + "void f0(char* p) { use(p); }\n" + "".join(
        f"[[gnu::noinline]] void f{i}(char* p) {{ char room[1000]; f{i - 1}(room); use(p); }}\n"
        for i in range(1, 6)),
    "not bounded": """
        void use(char*);
        void any(unsigned long n) { use(static_cast<char*>(__builtin_alloca(n))); }""",
}
BAD_SOURCES = ("if (std::memcmp(a, b, 16) == 0)", "return header.tag == expected;",
               "if (a != secret.bytes())")


# Beyond what hypervisor/core/.clang-tidy allows; tests/style/clang_tidy.py holds the core to it.
TANGLED = "int f(int a) {\n" + "".join(
    f"for (int i{n} = 0; i{n} < a; ++i{n}) {{ if (i{n} == {n}) a += i{n};\n" for n in range(5)
) + "}}}}} return a; }\n"


def finds_tangled_code(scratch):
    source = Path(scratch) / "tangled.cpp"
    source.write_text(TANGLED)
    done = subprocess.run(["clang-tidy-19", f"--config-file={CORE / '.clang-tidy'}", source, "--"],
                          capture_output=True, text=True, check=False)
    return "has cognitive complexity of" in done.stdout


def self_test(build):
    trouble = []
    with tempfile.TemporaryDirectory() as scratch:
        for expected, text in BAD.items():
            source = Path(scratch) / "bad.cpp"
            source.write_text(text)
            graph = Graph()
            graph.add(compile_graph(commands(build)[0], source, Path(scratch)))
            found, _, _ = check_graph(graph)
            if not any(expected in line for line in found):
                trouble.append(f"code with '{expected}' passed: {found}")
        if not finds_tangled_code(scratch):
            trouble.append("clang-tidy takes tangled code, or is not installed: run ./dev setup")
    trouble += [f"'{text}' passed" for text in BAD_SOURCES if not check_source("bad", text)]
    print(f"{len(BAD) + 1 + len(BAD_SOURCES)} pieces of bad code, {len(trouble)} not found")
    return trouble


def main():
    build = Path(sys.argv[1])
    trouble = self_test(build) if "--self-test" in sys.argv[2:] else check_core(build)
    for line in trouble:
        print(line)
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())

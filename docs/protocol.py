#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the tables of docs/protocol.md: layouts, values and bounds as the compiler has them from
the headers in wire/, with the headers' own comments. `--check` changes nothing and fails when a
table is not what it should be, or when a struct or enum of wire/sgm_op.hpp has none."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "protocol.md"
HEADERS = ["wire/sgm_op.hpp", "wire/attestation.hpp"]
COMPLETE = HEADERS[0]
BLOCK = re.compile(r"<!-- (struct|enum|bounds)(?: (\w+))? -->\n.*?<!-- end -->\n", re.DOTALL)
STRUCT = re.compile(r"^struct (\w+) \{(.*?)^\};", re.DOTALL | re.MULTILINE)
ENUM = re.compile(r"^enum (?:class )?(\w+)[^{;]*\{(.*?)\};", re.DOTALL | re.MULTILINE)
BOUND = re.compile(r"^inline constexpr std::uint(?:16|32|64)_t (k\w+) =([^;]*);(?:  // (.*))?$",
                   re.MULTILINE)
FIELD = re.compile(r"^\s+[\w:<>, +]+?[\w>] (\w+(?:, \w+)*);", re.MULTILINE)
OFFSETS = re.compile(r"^(?:\d+ ?)+")


def comment_of(lines, index):
    """The comment behind line `index`, and the lines of its own before."""
    before = []
    for line in reversed(lines[:index]):
        if not line.strip().startswith("//"):
            break
        before.insert(0, line.strip()[2:].strip())
    behind = lines[index].partition("//")[2].strip()
    behind = OFFSETS.sub("", behind).strip()
    return " ".join([*before, behind]).strip()


def fields_of(body):
    body = re.sub(r"\n\s+(\w+;)", r" \1", body)  # a declaration that was broken in two
    lines = body.split("\n")
    for index, line in enumerate(lines):
        match = FIELD.match(line)
        if match:
            for name in match[1].split(", "):
                yield name, comment_of(lines, index)


def values_of(body):
    lines = re.sub(r"([{,]) (\w+ = )", r"\1\n\2", body).split("\n")
    for index, line in enumerate(lines):
        match = re.match(r"\s*(\w+) = ", line)
        if match:
            yield match[1], comment_of(lines, index)


class Headers:
    def __init__(self):
        text = {name: (ROOT / name).read_text() for name in HEADERS}
        everything = "\n".join(text.values())
        self.structs = {name: list(fields_of(body)) for name, body in STRUCT.findall(everything)}
        self.enums = {name: list(values_of(body)) for name, body in ENUM.findall(everything)}
        self.scoped = set(re.findall(r"^enum class (\w+)", everything, re.MULTILINE))
        self.bounds = [(name, comment) for name, _, comment in BOUND.findall(text[COMPLETE])
                       if name.startswith("kMax")]
        self.required = ({name for name, _ in STRUCT.findall(text[COMPLETE])} |
                         {name for name, _ in ENUM.findall(text[COMPLETE])})
        self.numbers = self.ask_compiler()

    def ask_compiler(self):
        asked = []
        for struct, fields in self.structs.items():
            asked.append((struct, f"sizeof(sgm::wire::{struct})"))
            for field, _ in fields:
                asked.append((f"{struct}.{field}", f"offsetof(sgm::wire::{struct}, {field})"))
                asked.append((f"{struct}.{field}.size", f"sizeof(sgm::wire::{struct}::{field})"))
        for enum, values in self.enums.items():
            scope = f"{enum}::" if enum in self.scoped else ""
            asked += [(f"{enum}.{value}", f"sgm::wire::{scope}{value}") for value, _ in values]
        asked += [(name, f"sgm::wire::{name}") for name, _ in self.bounds]
        source = "#include <cstdio>\n" + "".join(f'#include "{name}"\n' for name in HEADERS)
        source += "int main() {\n" + "".join(
            f'std::printf("%s %llu\\n", "{key}", static_cast<unsigned long long>({value}));\n'
            for key, value in asked) + "}\n"
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "ask.cpp"
            path.write_text(source)
            subprocess.run(["g++", "-std=c++23", f"-I{ROOT}", path, "-o", path.with_suffix("")],
                           check=True)
            out = subprocess.run([path.with_suffix("")], check=True, capture_output=True, text=True)
        return dict(line.split() for line in out.stdout.splitlines())

    def table(self, kind, name):
        if kind == "struct":
            rows = [f"`{name}`, {self.numbers[name]} bytes", "",
                    "| offset | size | field | |", "|---|---|---|---|"]
            rows += [f"| {self.numbers[f'{name}.{field}']} | {self.numbers[f'{name}.{field}.size']}"
                     f" | `{field}` | {comment} |" for field, comment in self.structs[name]]
        elif kind == "enum":
            rows = [f"`{name}`", "", "| value | name | |", "|---|---|---|"]
            rows += [f"| {self.numbers[f'{name}.{value}']} | `{value}` | {comment} |"
                     for value, comment in self.enums[name]]
        else:
            rows = ["| bound | value | |", "|---|---|---|"]
            rows += [f"| `{bound}` | {int(self.numbers[bound]):,} | {comment} |"
                     for bound, comment in self.bounds]
        return "\n".join(rows) + "\n"


def main():
    headers = Headers()
    text = PAGE.read_text()
    seen = set()

    def fill(match):
        kind, name = match[1], match[2]
        known = {"struct": headers.structs, "enum": headers.enums}.get(kind, {None: None})
        if name not in known:
            sys.exit(f"docs/protocol.md asks for the {kind} {name}, which wire/ does not have")
        seen.add(name)
        head = match[0].split("\n")[0]
        return f"{head}\n{headers.table(kind, name)}<!-- end -->\n"

    made = BLOCK.sub(fill, text)
    missing = sorted(headers.required - seen)
    if missing:
        print(f"docs/protocol.md has no table of {', '.join(missing)}")
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made)
    elif made != text:
        print("docs/protocol.md does not say what the headers in wire/ say: run docs/protocol.py")
        return 1
    print(f"{len(seen)} tables, {len(headers.numbers)} numbers from the compiler")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

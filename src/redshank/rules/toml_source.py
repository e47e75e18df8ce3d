"""TOML rule files as the same marked trees that YAML ones give, so that all that follows knows no difference.

Python's own reader says whether a file is TOML. What passes it is gone through a second time here, for the places: so
this part need not refuse anything.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from yaml.error import Mark as YamlMark
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_NESTING = 50
_AT = re.compile(r"^(?P<reason>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE = re.compile(r"\d{4}-\d\d-\d\d[ ]\d\d:[^\s,\]}#]+|[^\s,\]}#]+")
_DEEP = re.compile(r"(?:[\[{][^\[\]{}]*){51}")
_LONG_KEY = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){51}")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}


class Mark(YamlMark):
    """A place in the file, in characters. What begins there is indented by nothing."""

    def __init__(self, index: int) -> None:
        super().__init__("", index, 0, 0, None, 0)


class TomlError(Exception):
    """Not TOML: why, and the character at which."""

    def __init__(self, reason: str, index: int) -> None:
        self.index = index
        super().__init__(reason)


class Text(ScalarNode):
    """A text that knows where in the file each of its characters, and its end, stands."""

    offsets: list[int]


def compose_toml(text: str) -> MappingNode:
    """The tree of a TOML file. Raises `TomlError`."""
    _check_depth(text)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT.match(str(error))
        if found is None or found["line"] is None:
            raise TomlError(found["reason"] if found else str(error), max(0, len(text.rstrip()) - 1)) from None
        lines = text.replace("\r\n", " \n").split("\n")
        index = sum(len(line) + 1 for line in lines[: int(found["line"]) - 1]) + int(found["column"]) - 1
        raise TomlError(found["reason"], min(index, len(text) - 1)) from None
    except RecursionError:
        raise TomlError("nested too deeply", 0) from None
    return _Reader(text).document()


def _check_depth(text: str) -> None:
    """Refuses so many brackets opened in a row, before anything recurses; those within texts count as well."""
    if found := _DEEP.search(text):
        raise TomlError(f"brackets nested more than {MAX_NESTING} levels deep", found.start())
    if found := _LONG_KEY.search(text):
        raise TomlError(f"a key of more than {MAX_NESTING} parts", found.start())


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def document(self) -> MappingNode:
        root = _mapping(0, len(self.text), flow=False)
        table = root
        while self.blank() < len(self.text):
            if self.text[self.at] != "[":
                self.entry(table)
                continue
            start = self.at
            several = self.text.startswith("[[", start)
            self.at += 2 if several else 1
            path = self.keys()
            self.blank()
            self.at += 2 if several else 1
            table = self.header(root, path, start, several=several)
        return root

    def header(self, root: MappingNode, path: list[ScalarNode], start: int, *, several: bool) -> MappingNode:
        table = root
        for key in path[:-1]:
            table = _descend(table, key)
        if not several:
            return _descend(table, path[-1])
        items = _get(table, path[-1].value)
        if not isinstance(items, SequenceNode):
            items = SequenceNode("seq", [], Mark(start), Mark(self.at), flow_style=False)
            table.value.append((path[-1], items))
        new = _mapping(start, self.at, flow=False)
        items.value.append(new)
        return new

    def entry(self, table: MappingNode) -> None:
        path = self.keys()
        self.blank()
        self.at += 1  # =
        self.blank()
        for key in path[:-1]:
            table = _descend(table, key)
        table.value.append((path[-1], self.value()))

    def keys(self) -> list[ScalarNode]:
        out = []
        while True:
            self.blank()
            start = self.at
            if self.text[start] in "\"'":
                key: ScalarNode = self.string()
            else:
                found = _BARE_KEY.match(self.text, start)
                assert found is not None
                self.at = found.end()
                key = ScalarNode("tag:str", found[0], Mark(start), Mark(self.at))
            out.append(key)
            self.blank()
            if self.text[self.at] != ".":
                return out
            self.at += 1

    def value(self) -> Node:
        start = self.at
        match self.text[start]:
            case '"' | "'":
                return self.string()
            case "[":
                self.at += 1
                items = []
                while self.text[self.blank()] != "]":
                    items.append(self.value())
                    if self.text[self.blank()] == ",":
                        self.at += 1
                self.at += 1
                return SequenceNode("tag:seq", items, Mark(start), Mark(self.at), flow_style=True)
            case "{":
                self.at += 1
                table = _mapping(start, start, flow=True)
                while self.text[self.blank()] != "}":
                    self.entry(table)
                    if self.text[self.blank()] == ",":
                        self.at += 1
                self.at += 1
                table.end_mark = Mark(self.at)
                return table
        found = _BARE.match(self.text, start)
        assert found is not None
        self.at = found.end()
        read: Any = tomllib.loads(f"it = {found[0]}")["it"]
        kind = {bool: "bool", int: "int", float: "float"}.get(type(read), "str")
        shown = str(read).lower() if kind == "bool" else str(read) if kind != "str" else read.isoformat()
        return ScalarNode(f"tag:{kind}", shown, Mark(start), Mark(self.at))

    def string(self) -> Text:
        text, start = self.text, self.at
        quote = text[start]
        several = text.startswith(quote * 3, start)
        at = start + (3 if several else 1)
        if several and text.startswith("\n", at):
            at += 1
        elif several and text.startswith("\r\n", at):
            at += 2
        end = quote * 3 if several else quote
        chars: list[str] = []
        offsets: list[int] = []
        while not (text.startswith(end, at) and not (several and text.startswith(quote, at + 3))):
            char, width = text[at], 1
            if char == "\\" and quote == '"':
                after = text[at + 1]
                if after in " \t\r\n":  # The line goes on with the next word.
                    at += 1
                    while text[at] in " \t\r\n":
                        at += 1
                    continue
                width = {"u": 6, "U": 10}.get(after, 2)
                char = chr(int(text[at + 2 : at + width], 16)) if width > 2 else _ESCAPES[after]
            chars.append(char)
            offsets.append(at)
            at += width
        offsets.append(at)
        self.at = at + len(end)
        node = Text("tag:str", "".join(chars), Mark(start), Mark(self.at), style=quote)
        node.offsets = offsets
        return node

    def blank(self) -> int:
        """Goes past blanks, line ends and comments; where that is."""
        found = _BLANK.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return self.at


def _mapping(start: int, end: int, *, flow: bool) -> MappingNode:
    return MappingNode("tag:map", [], Mark(start), Mark(end), flow_style=flow)


def _get(table: MappingNode, name: str) -> Node | None:
    return next((value for key, value in table.value if key.value == name), None)


def _descend(table: MappingNode, key: ScalarNode) -> MappingNode:
    """The table of that name within `table`, made where there is none; of several, the last."""
    found = _get(table, key.value)
    if isinstance(found, SequenceNode):
        found = found.value[-1]
    if not isinstance(found, MappingNode):
        found = _mapping(key.start_mark.index, key.end_mark.index, flow=False)
        table.value.append((key, found))
    return found

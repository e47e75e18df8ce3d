"""Rule files as marked trees: every value knows where in its file it stands, down to the character.

YAML is composed, never constructed: a scalar stays text, so nothing turns into a date or an object behind the writer's
back. Aliases are refused (names do their work, and a few nested ones unfold without bound), as are doubled keys.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from redshank.rules.diagnostics import Diagnostic
from redshank.rules.mistakes import PARTS, yaml_hint
from redshank.rules.toml_source import Text, TomlError, compose_toml

MAX_FILE = 4 * 1024 * 1024
"""Characters; a larger file is no longer something that a person wrote."""

MAX_NESTING = 50
_YAML_IN_CONDITION = re.compile(r"""^[\s-]*\w+: *(["'].*["'].*\S|[^"'|>].*: )""")
_CONDITION_HINT = (
    "To YAML, quotes at its beginning, `: ` and ` #` in a condition mean something else: put it below `when: |`."
)

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Diagnostics:
    """Collects what is wrong in all files of one load."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(sorted(self.found, key=lambda d: (d.file, d.line, d.column)))

    @property
    def has_errors(self) -> bool:
        """Whether there is an error, and not only warnings."""
        return any(found.severity == "error" for found in self.found)


class Source:
    """One file's text, and what is wrong in it."""

    def __init__(self, name: str, text: str, diagnostics: Diagnostics) -> None:
        self.name = name
        self.text = text
        self.lines = text.splitlines() or [""]
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._diagnostics = diagnostics

    @property
    def is_toml(self) -> bool:
        """Whether it is TOML; else it is YAML."""
        return self.name.endswith(".toml")

    def error(self, message: str, start: int, end: int, hint: str = "") -> None:
        """Notes an error that spans the characters from `start` to `end` of the file."""
        self._note("error", message, start, end, hint)

    def warn(self, message: str, start: int, end: int, hint: str = "") -> None:
        """Notes a warning."""
        self._note("warning", message, start, end, hint)

    def error_at(self, node: Node, message: str, hint: str = "") -> None:
        """Notes an error that spans `node`."""
        self.error(message, *span_of(node), hint)

    def warn_at(self, node: Node, message: str, hint: str = "") -> None:
        """Notes a warning that spans `node`."""
        self.warn(message, *span_of(node), hint)

    def line_of(self, offset: int) -> int:
        """The line, from 1, of a character."""
        return min(max(1, bisect_right(self._starts, offset)), len(self.lines))

    def _note(self, severity: str, message: str, start: int, end: int, hint: str) -> None:
        if self.is_toml:
            message, hint = _in_toml(message), _in_toml(hint)
        line = self.line_of(start)
        column = start - self._starts[line - 1]
        text = self.lines[line - 1]
        width = max(1, min(end - start, len(text) - column))
        found = Diagnostic(
            severity="error" if severity == "error" else "warning",
            message=message,
            hint=hint,
            file=self.name,
            line=line,
            column=column + 1,
            width=width,
            text=text,
        )
        if found not in self._diagnostics.found:
            self._diagnostics.found.append(found)


_TOML = (
    *((part, part.replace(": ", " = ")) for part in PARTS.values()),
    ("`- id:`", "`[[rules]]`"),
    ("`rules:`", "`[[rules]]`"),
    ("`names:`", "`[names]`"),
    ("`lists:`", "`[lists]`"),
    ("`fields:`", "`[fields]`"),
    ("`when: |`", "`when = '''`"),
    ("`name: value` lines", "`name = value`"),
    ("`name: …` lines", "`name = …`"),
    ("Each begins with `- `: ", "There are "),
    ("`- preserve`", '`"preserve"`'),
    ("`- open_case: {queue: media}`", '`{open_case = {queue = "media"}}`'),
    ("`- post: {text: join us}`", '`{post = {text = "join us"}}`'),
    ("`post: {text: join us}`", '`{post = {text = "join us"}}`'),
    ("`label: NAME`", '`{label = "NAME"}`'),
    ("`action: {suspend: account, hours: 24}`", '`{action = {suspend = "account", hours = 24}}`'),
    ("`action: {label: post, name: graphic}`", '`{action = {label = "post", name = "graphic"}}`'),
)


def _in_toml(said: str) -> str:
    """What is said of YAML, as TOML has it."""
    if said.startswith("To YAML"):
        return ""
    for yaml_way, toml_way in _TOML:
        said = said.replace(yaml_way, toml_way)
    return said


def read_source(path: Path, name: str, diagnostics: Diagnostics) -> Source | None:
    """The file at `path`, called `name` in messages; None, and an error noted, where it cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        source = Source(name, "", diagnostics)
        source.error(f"cannot be read: {error.strerror or error}", 0, 1)
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source = Source(name, raw[: error.start].decode("utf-8", "replace"), diagnostics)
        source.error("not UTF-8", len(source.text), len(source.text) + 1, "Save the file as UTF-8.")
        return None
    return Source(name, text, diagnostics)


def compose(source: Source) -> MappingNode | None:
    """The tree of a file, or None where there is none; what is wrong is noted in `source`."""
    text = source.text
    if len(text) > MAX_FILE:
        source.error(f"larger than {MAX_FILE // (1024 * 1024)} MiB", 0, 1, "Put long lists into banks.")
        return None
    if not text.strip():
        source.error("the file is empty", 0, 1, "It needs a list `rules:`.")
        return None
    if not text.endswith("\n"):
        source.error(
            "the file ends in the middle of a line",
            max(0, len(text) - 1),
            len(text),
            "End it with a line break. If another program is writing it: let that write beside it, then rename.",
        )
        return None
    if source.is_toml:
        try:
            return compose_toml(text)
        except TomlError as toml_error:
            source.error(f"not valid TOML: {toml_error}", toml_error.index, toml_error.index + 1)
            return None
    try:
        depth = 0
        for event in yaml.parse(text, _Loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_NESTING:  # Composing recurses, in C.
                start = event.start_mark.index if event.start_mark else 0
                source.error(f"lists or mappings nested more than {MAX_NESTING} levels deep", start, start + 1)
                return None
            if isinstance(event, yaml.AliasEvent):
                start = event.start_mark.index if event.start_mark else 0
                source.error("aliases are not used in rule files", start, start + 1, "Use `names:`.")
                return None
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        index = min(mark.index if mark else 0, len(text) - 1)
        reason = error.problem or error.context or "not valid YAML"
        line = source.lines[source.line_of(index) - 1]
        hint = _CONDITION_HINT if _YAML_IN_CONDITION.search(line[:500]) else error.note or yaml_hint(reason)
        source.error(f"not valid YAML: {reason}", index, index + 1, hint)
        return None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        source.error("not valid YAML: a character that YAML does not allow", position, position + 1)
        return None
    except RecursionError:
        source.error("nested too deeply", 0, 1)
        return None
    if not isinstance(root, MappingNode):
        if root is not None:
            source.error_at(root, "expected `rules:` and other keys at the top", "A file begins with `rules:`.")
        else:
            source.error("the file is empty", 0, 1, "It needs a list `rules:`.")
        return None
    return root


def span_of(node: Node) -> tuple[int, int]:
    """Where `node` stands: its first character, and the one after its last; blank space behind it does not count."""
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        end = span_of(last[1] if isinstance(last, tuple) else last)[1]
    return start, max(end, start + 1)


def offsets_of(source: Source, node: ScalarNode) -> list[int]:
    """For each character of `node.value`, and for its end, where in the file it stands.

    Folding, quoting and indentation take characters away or put blanks in; all others keep their order, so the value
    is walked along the file's text.
    """
    if isinstance(node, Text):
        return node.offsets
    text, value = source.text, node.value
    at, end = node.start_mark.index, node.end_mark.index
    if node.style in ("|", ">"):
        at = text.find("\n", at, end) + 1 or end
    elif node.style in ("'", '"'):
        at += 1
    out: list[int] = []
    for char in value:
        if char in " \n":
            out.append(min(at, end))
            if at < end and text[at] == char:
                at += 1
            continue
        while (
            at < end and text[at] != char and (text[at] in " \t\r\n" or (text[at] == "\\" and text[at + 1] in "\r\n"))
        ):
            at += 1
        out.append(min(at, end))
        if at >= end:
            continue
        if node.style == '"' and text[at] == "\\":
            at += {"x": 4, "u": 6, "U": 10}.get(text[at + 1], 2)
        elif node.style == "'" and text[at] == "'":
            at += 2
        else:
            at += 1
    out.append(min(at, end))
    return out

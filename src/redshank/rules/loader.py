"""From rule files to a rule set: reads, checks, and either gives all of it or says all that is wrong with it.

A folder is one set: names, lists and declared fields of its files serve all of them, and so do the text files in its
folder `lists/`, each of which is one list.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from redshank.core import Effect, RequestAction
from redshank.rules.checker import MAX_DEPTH, Scope, asks_for_passing, check_expression
from redshank.rules.diagnostics import Diagnostic, RuleErrors, nearest
from redshank.rules.effects import fits, read_at_most, read_effects, read_mapping
from redshank.rules.examples import Example, plain, read_examples
from redshank.rules.library import FUNCTIONS, QUANTIFIERS
from redshank.rules.outcome import always, applies_to
from redshank.rules.ruleset import Mode, Rule, RuleSet
from redshank.rules.schema import EXTRA_TYPES, PASSING, RECORDS, ROOTS, Type
from redshank.rules.source import Diagnostics, Source, compose, offsets_of, read_source, span_of
from redshank.rules.tree import Counting, walk
from redshank.rules.tree import Node as Tree

DEFAULT_RULES = Path(__file__).parent / "default"
"""The rules that come with Redshank."""

CONSOLE = "console"
"""What stands in a message in a file's place where a rule stands in none."""

LISTS = "lists"
"""The folder, within a folder of rules, whose text files are lists."""
MAX_LIST = 256 * 1024 * 1024
"""Characters of one list file."""
_LIST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TOP = ("rules", "names", "lists", "fields")
_RULE = (
    "id",
    "policy",
    "policy_from",
    "description",
    "when",
    "effects",
    "unsure",
    "at_most",
    "mode",
    "owner",
    "expires",
    "fires_on",
    "silent_on",
)
_REQUIRED = ("id", "when", "effects")
_MODES: tuple[Mode, ...] = ("off", "shadow", "live")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FIELD = re.compile(r"(event|account|followed|post|report)\.[a-z][a-z0-9_]{0,63}")


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What the store has that rules can name: the kind of each bank that is switched on, by its name, and the policies in
    force; None for what nobody knows here."""

    banks: Mapping[str, str] | None = None
    policies: Collection[str] | None = None


_UNKNOWN = Installation()


class LoadedRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule with its examples, and its text as a rule file of its own; names that it shares with others are not in it."""

    rule: Rule
    fires_on: tuple[Example, ...]
    silent_on: tuple[Example, ...]
    text: str = ""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a load gave. `rules` is None where there are errors."""

    rules: RuleSet | None
    examples: tuple[LoadedRule, ...]
    diagnostics: tuple[Diagnostic, ...]


def load_rules(path: Path, lists: Mapping[str, Collection[str]] = {}) -> RuleSet:
    """The rules of a file, or of all `*.yaml`, `*.yml` and `*.toml` files of a folder, in the order of their names.

    `lists` are what `list("name")` finds beside the files' own and those of the folder's `lists/NAME.txt`, which have
    one item a line; blank lines and those that begin with `# ` say nothing. Sets are taken as they are and must not
    change. Raises `RuleErrors`, which names everything that is wrong, each with its place.
    """
    loaded = load(path, lists)
    if loaded.rules is None:
        raise RuleErrors(loaded.diagnostics)
    return loaded.rules


def check(
    path: Path, lists: Mapping[str, Collection[str]] | None = None, now: datetime | None = None
) -> list[Diagnostic]:
    """All errors and warnings of a file or folder, by file and line. With `now`, expired rules are warned about."""
    return list(load(path, lists or {}, now=now).diagnostics)


def load(
    path: Path,
    lists: Mapping[str, Collection[str]],
    *,
    now: datetime | None = None,
    installation: Installation = _UNKNOWN,
) -> Loaded:
    """As `load_rules`, with examples and warnings; errors are given, not raised.

    With `now`, expired rules are warned about; with an `installation`, banks and policies that it does not have.
    """
    return Folder(path, lists, now=now, installation=installation).loaded


def rule_files(path: Path) -> list[Path]:
    """The rule files that a load of `path` reads: itself, or what a folder holds of them, by name."""
    if not path.is_dir():
        return [path]
    return sorted(found for found in path.iterdir() if found.suffix in (".yaml", ".yml", ".toml") and found.is_file())


def list_files(path: Path) -> list[Path]:
    """The list files that a load of `path` reads, by name; none where it is a file."""
    return sorted(found for found in (path / LISTS).glob("*.txt") if found.is_file())


def _read_list(file: Path, lists: dict[str, Collection[str]], diagnostics: Diagnostics) -> None:
    source = read_source(file, f"{LISTS}/{file.name}", diagnostics)
    if source is None:
        return
    text = source.text
    if not _LIST.fullmatch(file.stem):
        source.error(f"`{file.stem}` cannot be a list's name", 0, 1, "Use letters, digits, - and _; 64 at most.")
    elif file.stem in lists:
        source.error(f'there are two lists "{file.stem}"', 0, 1, "Take this one out, or give it another name.")
    elif len(text) > MAX_LIST:
        source.error(f"larger than {MAX_LIST // (1024 * 1024)} MiB", 0, 1, "Make two lists of it.")
    elif text and not text.endswith("\n"):
        source.error(
            "the file ends in the middle of a line",
            len(text) - 1,
            len(text),
            "End it with a line break. If another program is writing it: let that write beside it, then rename.",
        )
    else:
        lines = (line.strip() for line in text.split("\n"))
        lists[file.stem] = frozenset(line for line in lines if line and not line.startswith("# "))


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that stands in no file: its text, which is a rule file with one rule, and the mode that it is in.

    `id` is the id that it must have; empty where it may take any.
    """

    text: str
    mode: Mode
    id: str = ""


class Folder:
    """A file or folder of rules, loaded, and rules that stand in no file beside it.

    Each of those sees the folder's names, lists and fields and no other of its like, so that a broken one breaks itself
    alone. `loaded` is the folder's own. Parameters are those of `load`.
    """

    def __init__(
        self,
        path: Path,
        lists: Mapping[str, Collection[str]] = {},
        *,
        now: datetime | None = None,
        installation: Installation = _UNKNOWN,
    ) -> None:
        diagnostics = Diagnostics()
        files = rule_files(path)
        if not files:
            Source(str(path), "", diagnostics).error(
                "the folder has no rule files", 0, 1, "They end in .yaml or .toml."
            )
        found = dict(lists)
        for file in list_files(path):
            _read_list(file, found, diagnostics)
        sources = [read_source(file, file.name, diagnostics) for file in files]
        self._loader = _Loader(
            [source for source in sources if source is not None], found, diagnostics, now, installation
        )
        self.loaded = self._loader.load()

    def declared(self) -> list[tuple[str, str, str]]:
        """What the folder's files declare for all rules, as (kind, name, what it is): names, lists and fields."""
        return self._loader.declared()

    def beside(
        self,
        written: Written,
        *,
        taken: Collection[str] = (),
        now: datetime | None = None,
        installation: Installation = _UNKNOWN,
    ) -> Loaded:
        """Check one rule that stands in no file; `taken` are ids that others of its like have, the rest is as for `load`."""
        diagnostics = Diagnostics()
        source = Source(CONSOLE, written.text, diagnostics)
        loader = _Loader([source], {}, diagnostics, now, installation)
        loader.see(self._loader, written, frozenset(taken))
        return loader.load()

    def scope(self, refuse: Callable[[Tree], tuple[str, str] | None], banks: Mapping[str, str] | None = None) -> Scope:
        """What an expression that stands in no rule can use of the folder; see `Scope`."""
        return self._loader.scope(refuse, banks)

    def merged(self, others: Sequence[Loaded]) -> RuleSet:
        """The folder's rules and the others', of which those with errors are left out. Raises `RuleErrors` of the folder."""
        own = self.loaded.rules
        if own is None:
            raise RuleErrors(self.loaded.diagnostics)
        good = [other.rules for other in others if other.rules is not None]
        return RuleSet(
            [rule for one in (own, *good) for rule in one.rules],
            fields={path: kind for one in (*good, own) for path, kind in one.fields.items()},
            origins={path: origin for one in (*good, own) for path, origin in one.origins.items()},
            warnings=own.warnings,
        )


class _Definition(msgspec.Struct, frozen=True):
    source: Source
    key: Node
    value: Node


class _Loader:
    def __init__(
        self,
        sources: list[Source],
        lists: Mapping[str, Collection[str]],
        diagnostics: Diagnostics,
        now: datetime | None,
        installation: Installation,
    ) -> None:
        self._sources = sources
        self._installation = installation
        self._diagnostics = diagnostics
        self._now = now
        self._names: dict[str, _Definition] = {}
        self._trees: dict[str, Tree | None] = {}
        self._open: list[str] = []
        self._used: set[str] = set()
        self._lists: dict[str, frozenset[str]] = {
            name: values if isinstance(values, frozenset) else frozenset(values) for name, values in lists.items()
        }
        self._fields: dict[str, Type] = {}
        self._origins: dict[str, str] = {}
        self._ids: dict[str, _Definition] = {}
        self._rules: list[LoadedRule] = []
        self._written: Written | None = None
        self._taken: frozenset[str] = frozenset()

    def see(self, other: _Loader, written: Written, taken: frozenset[str]) -> None:
        """Be the loader of one rule that sees what another one has read."""
        self._names, self._trees, self._lists = dict(other._names), dict(other._trees), dict(other._lists)
        self._fields, self._origins, self._ids = dict(other._fields), dict(other._origins), dict(other._ids)
        self._written, self._taken = written, taken

    def declared(self) -> list[tuple[str, str, str]]:
        """As `Folder.declared`."""
        return [
            *(("names", name, str(found.value.value)) for name, found in sorted(self._names.items())),
            *(("lists", f'list("{name}")', f"{len(items):,}") for name, items in sorted(self._lists.items())),
            *(("fields", path, kind.describe()) for path, kind in sorted(self._fields.items())),
        ]

    def load(self) -> Loaded:
        tops = []
        for source in self._sources:
            root = compose(source)
            if root is None:
                continue
            top = read_mapping(source, root, _TOP, " at the top of a rule file")
            tops.append((source, root, top))
        for source, _, top in tops:
            self._read_fields(source, top.get("fields"))
            self._read_lists(source, top.get("lists"))
            self._read_names(source, top.get("names"))
        for source, root, top in tops:
            self._read_rules(source, root, top)
        own = {name: found for name, found in self._names.items() if found.source in self._sources}
        for name, found in own.items():
            used = name in self._used
            if name not in self._trees:
                self._name(name)  # So that its errors are said, too.
            if not used:
                found.source.warn_at(found.key, f"the name `{name}` is not used")
        rules = None
        if not self._diagnostics.has_errors:
            rules = RuleSet(
                [found.rule for found in self._rules],
                fields=self._fields,
                origins=self._origins,
                warnings=[found for found in self._diagnostics if found.severity == "warning"],
            )
        return Loaded(
            rules=rules,
            examples=tuple(self._rules),
            diagnostics=tuple(self._diagnostics),
        )

    # --- what rules use ----------------------------------------------------------------------------------------------

    def _read_fields(self, source: Source, node: Node | None) -> None:
        for key, value in self._entries(source, node, "fields"):
            path = key.value
            if not _FIELD.fullmatch(path):
                source.error_at(key, "not a field's path", "Such as post.topic: a part of the event, a dot, a name.")
                continue
            part, _, name = path.partition(".")
            record = "followed account" if part == "followed" else part
            if name in RECORDS[record]:
                source.error_at(
                    key, f"the schema already has `{path}`", f"It is {RECORDS[record][name].type.describe()}."
                )
                continue
            if path in self._fields:
                source.error_at(key, f"the field `{path}` is declared twice")
                continue
            type_node: Node | None = value
            if isinstance(value, MappingNode):
                parts = read_mapping(source, value, ("type", "from"))
                type_node = parts.get("type")
                origin = parts.get("from")
                if isinstance(origin, ScalarNode) and _FIELD.fullmatch(origin.value):
                    self._origins[path] = origin.value
                elif origin is not None:
                    source.error_at(origin, "expected where a foreign event has it", "Such as post.mentions.")
                if type_node is None:
                    source.error_at(value, "expected `type`", f"It is one of {', '.join(EXTRA_TYPES)}.")
                    continue
            kind = type_node.value if isinstance(type_node, ScalarNode) else ""
            if type_node is not None and kind not in EXTRA_TYPES:
                hint = nearest(kind, EXTRA_TYPES) or f"It is one of {', '.join(EXTRA_TYPES)}."
                source.error_at(type_node, "not a type of a field", hint)
                continue
            self._fields[path] = EXTRA_TYPES[kind]
            self._origins.setdefault(path, path)

    def _read_lists(self, source: Source, node: Node | None) -> None:
        for key, value in self._entries(source, node, "lists"):
            if key.value in self._lists:
                source.error_at(
                    key,
                    f'there are two lists "{key.value}"',
                    "Lists of a folder and of the installation share their names.",
                )
                continue
            if not isinstance(value, SequenceNode) or not all(isinstance(item, ScalarNode) for item in value.value):
                source.error_at(value, "expected a list of texts")
                continue
            self._lists[key.value] = frozenset(item.value for item in value.value)

    def _read_names(self, source: Source, node: Node | None) -> None:
        for key, value in self._entries(source, node, "names"):
            name = key.value
            if not _NAME.fullmatch(name) or keyword.iskeyword(name):
                source.error_at(
                    key, f"`{name}` cannot be a name", "Use lower-case letters, digits and _; begin with a letter."
                )
            elif name in ROOTS or name in FUNCTIONS or name in QUANTIFIERS:
                source.error_at(key, f"`{name}` already means something else", "Take another name.")
            elif name in self._names:
                first = self._names[name]
                line = first.source.line_of(first.key.start_mark.index)
                source.error_at(key, f"the name `{name}` is already given at {first.source.name}:{line}")
            else:
                self._names[name] = _Definition(source, key, value)

    def _entries(self, source: Source, node: Node | None, what: str) -> list[tuple[ScalarNode, Node]]:
        if node is None:
            return []
        if not isinstance(node, MappingNode):
            source.error_at(node, f"expected `name: …` lines under `{what}:`")
            return []
        read_mapping(source, node, None)  # Doubled keys.
        seen: set[str] = set()
        out = []
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value not in seen:
                seen.add(key.value)
                out.append((key, value))
        return out

    def _name(self, name: str) -> Tree | None:
        """The tree of a named expression; None where there is none or it is wrong."""
        definition = self._names.get(name)
        if definition is None:
            return None
        self._used.add(name)
        if name in self._open:
            first = self._open.index(name)
            way = " → ".join([*self._open[first:], name])
            definition.source.error_at(definition.key, f"the name `{name}` needs itself: {way}")
            return None
        if name not in self._trees:
            if len(self._open) == MAX_DEPTH:  # Each of them recurses.
                definition.source.error_at(
                    definition.key,
                    f"nested more than {MAX_DEPTH} levels deep, by names",
                    "Let fewer names need each other.",
                )
                return None
            self._open.append(name)
            self._trees[name] = self._expression(definition.source, definition.value, any_type=True)
            self._open.pop()
        return self._trees[name]

    def _counter(self, name: str) -> int | None:
        tree = self._name(name)
        return tree.counter.id if isinstance(tree, Counting) else None

    def scope(self, refuse: Callable[[Tree], tuple[str, str] | None] | None, banks: Mapping[str, str] | None) -> Scope:
        """As `Folder.scope`."""
        return Scope(self._name, self._names, self._lists, self._fields, refuse, banks)

    def _expression(self, source: Source, node: Node, *, any_type: bool = False) -> Tree | None:
        if not isinstance(node, ScalarNode):
            source.error_at(node, "expected an expression", "Several conditions are joined by `and`.")
            return None
        offsets = offsets_of(source, node)

        def at(report: Callable[..., None]) -> Callable[..., None]:
            def note(message: str, start: int, end: int, hint: str = "") -> None:
                last = len(offsets) - 1
                first = offsets[min(max(start, 0), last)]
                report(message, first, max(first + 1, offsets[min(max(end - 1, 0), last)] + 1), hint)

            return note

        scope = self.scope(None, self._installation.banks)
        return check_expression(node.value, scope, at(source.error), at(source.warn), any_type=any_type)

    # --- rules -------------------------------------------------------------------------------------------------------

    def _read_rules(self, source: Source, root: Node, top: dict[str, Node]) -> None:
        node = top.get("rules")
        if node is None:
            if not ({"names", "lists", "fields"} & top.keys()):
                source.error_at(
                    root, "expected `rules:`", "A rule file has a list of rules, each beginning with `- id:`."
                )
            return
        if not isinstance(node, SequenceNode):
            source.error_at(node, "expected a list of rules", "Each begins with `- id:`.")
            return
        if self._written is not None and len(node.value) != 1:
            source.error_at(node, f"expected one rule, not {len(node.value)}", "Here each rule stands by itself.")
            return
        for item in node.value:
            if not isinstance(item, MappingNode):
                source.error_at(item, "expected a rule", "It begins with `- id:`.")
                continue
            self._read_rule(source, item)

    def _read_rule(self, source: Source, node: MappingNode) -> None:
        values = read_mapping(source, node, _RULE, " in a rule")
        named = values.get("id")
        start, _ = span_of(named or node)
        for key in _REQUIRED:
            if key not in values:
                source.error(f"the rule has no `{key}`", start, span_of(named)[1] if named else start + 1)
        rule_id = self._id(source, named)
        policy = self._line(source, values.get("policy"), "policy", pattern=re.compile(r"[a-z0-9][a-z0-9-]{0,63}"))
        policies = self._installation.policies
        if policy and policies is not None and policy not in policies:
            hint = nearest(policy, policies) or (f"There are {', '.join(sorted(policies)[:12])}." if policies else "")
            source.warn_at(values["policy"], f"in force, there is no policy `{policy}`", hint)
        from_match = self._from_match(source, values.get("policy_from"))
        description = self._line(source, values.get("description"), "description")
        owner = self._line(source, values.get("owner"), "owner")
        mode = self._mode(source, values.get("mode"))
        if self._written is not None:
            mode = self._written.mode
            if "mode" in values:
                source.warn_at(values["mode"], "`mode` says nothing here", "Take the line out: its page sets the mode.")
        expires = self._expires(source, values.get("expires"))
        tree = self._expression(source, values["when"]) if "when" in values else None
        effects = read_effects(source, values["effects"]) if "effects" in values else ()
        unsure = read_effects(source, values["unsure"], harmless=True) if "unsure" in values else ()
        at_most = read_at_most(source, values["at_most"], (*effects, *unsure)) if "at_most" in values else {}
        examples = {
            key: read_examples(source, values[key], self._origins, self._counter) if key in values else ()
            for key in ("fires_on", "silent_on")
        }
        if tree is None:
            return
        tags = self._tags(source, values["when"], tree, rule_id)
        self._check_effects(source, values, effects, tags)
        if not policy and any(isinstance(effect, RequestAction) for effect in effects):
            source.error_at(
                values["effects"],
                "a rule that asks for an action needs a `policy`",
                "It is what the person it hits is told.",
            )
        if from_match and not any(found.key.startswith(("matched(", "severity(")) for found in walk(tree)):
            source.error_at(
                values["policy_from"],
                "this rule asks for no match",
                "Its `when` has neither matched(…) nor severity(…).",
            )
        rule = Rule(
            id=rule_id,
            policy=policy,
            policy_from_match=from_match,
            description=" ".join(description.split()),
            mode=mode,
            owner=owner,
            expires=expires,
            when=tree.key,
            effects=effects,
            unsure=unsure,
            at_most=at_most,
            version=_version(
                rule_id,
                tree.key,
                effects,
                unsure,
                policy,
                from_match,
                expires,
                *([sorted(at_most.items())] if at_most else ()),
            ),
            tags=tags,
            file=source.name,
            line=source.line_of(start),
            tree=tree,
        )
        self._rules.append(
            LoadedRule(
                rule=rule, fires_on=examples["fires_on"], silent_on=examples["silent_on"], text=_text_of(source, node)
            )
        )

    def _tags(self, source: Source, node: Node, tree: Tree, rule_id: str) -> tuple[str, ...]:
        tags = applies_to(tree, all_types=asks_for_passing(tree), passing=PASSING)
        if not tags:
            source.warn_at(node, f"`{rule_id}` can never fire", "No event can meet all of this.")
        elif (found := always(tree, tags)) is not False:
            where = "" if found else " on which it can be evaluated"
            source.warn_at(
                node, f"`{rule_id}` fires on every event of its types{where}", f"They are {', '.join(tags)}."
            )
        return tags

    def _check_effects(
        self, source: Source, values: dict[str, Node], effects: tuple[Effect, ...], tags: tuple[str, ...]
    ) -> None:
        for effect in effects:
            if tags and not any(fits(effect, tag) for tag in tags):
                target = getattr(effect, "target", "account")
                source.error_at(
                    values["effects"],
                    f"an effect is about the {target}, which the events of this rule do not have",
                    f"They are {', '.join(tags)}.",
                )

    def _id(self, source: Source, node: Node | None) -> str:
        if node is None:
            return ""
        value = node.value if isinstance(node, ScalarNode) else ""
        if not isinstance(node, ScalarNode) or not _ID.fullmatch(value):
            source.error_at(node, "not a rule's id", "Use letters, digits, - and _; 64 at most.")
            return ""
        first = self._ids.get(value)
        if first is not None:
            line = first.source.line_of(first.key.start_mark.index)
            source.error_at(node, f"there is a rule `{value}` already, at {first.source.name}:{line}")
        elif value in self._taken:
            source.error_at(node, f"there is a rule `{value}` already, in the console", "Take another id.")
        elif self._written is not None and self._written.id not in ("", value):
            source.error_at(
                node, f"this is the rule `{self._written.id}`: its id stays", "For another, begin a new rule."
            )
        else:
            self._ids[value] = _Definition(source, node, node)
        return str(value)

    def _line(self, source: Source, node: Node | None, name: str, pattern: re.Pattern[str] | None = None) -> str:
        if node is None:
            return ""
        if not isinstance(node, ScalarNode) or not node.value.strip():
            source.error_at(node, f"expected a text for `{name}`")
            return ""
        if pattern is not None and not pattern.fullmatch(node.value):
            source.error_at(node, f"not a name of a {name}", "Use lower-case letters, digits and -.")
        return str(node.value)

    def _from_match(self, source: Source, node: Node | None) -> bool:
        if node is not None and not (isinstance(node, ScalarNode) and node.value == "match"):
            source.error_at(node, "expected `match`", "The policy is then that of the bank with the most severe match.")
        return node is not None

    def _mode(self, source: Source, node: Node | None) -> Mode:
        if node is None:
            return "shadow"
        value = node.value if isinstance(node, ScalarNode) else ""
        for mode in _MODES:
            if value == mode:
                return mode
        source.error_at(node, "not a mode", nearest(value, _MODES) or f"It is one of {', '.join(_MODES)}.")
        return "off"

    def _expires(self, source: Source, node: Node | None) -> datetime | None:
        if node is None:
            return None
        try:
            value = datetime.strptime(node.value if isinstance(node, ScalarNode) else "", "%Y-%m-%d").replace(
                tzinfo=UTC
            )
        except ValueError:
            source.error_at(node, "not a date", "Write it as 2027-01-31: the rule fires no more from that day on.")
            return None
        if self._now is not None and value <= self._now:
            source.warn_at(node, "the rule has expired: it does not fire", "Set a later day, or take the rule out.")
        return value


def _text_of(source: Source, node: MappingNode) -> str:
    if source.is_toml:  # The console writes YAML.
        return yaml.safe_dump({"rules": [plain(source, node)]}, sort_keys=False, allow_unicode=True, width=120)
    start, end = span_of(node)
    margin = node.start_mark.column
    first, *rest = source.text[start:end].split("\n")
    lines = [line[margin:] if not line[:margin].strip() else line for line in rest]
    return "\n".join(["rules:", f"  - {first}", *(f"    {line}" if line.strip() else "" for line in lines)]) + "\n"


def _version(rule_id: str, when: str, effects: tuple[Effect, ...], unsure: tuple[Effect, ...], *others: Any) -> str:
    """12 hex digits of the SHA-256 of all that decides when a rule fires and what it asks for."""
    parts = [rule_id, when, msgspec.to_builtins(effects), msgspec.to_builtins(unsure), *map(str, others)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

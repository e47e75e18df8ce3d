"""What a rule asks for: read from YAML, put in order, and joined over all rules that fired.

The order is the order of doing: evidence is kept first, then labels and cases, then actions from the mildest to the
harshest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode

from redshank.core import VERBS, AddLabel, Effect, Fired, OpenCase, Preserve, RequestAction
from redshank.core.actions import HARSHNESS, TARGETS
from redshank.rules.diagnostics import nearest
from redshank.rules.mistakes import KEYS
from redshank.rules.schema import EVENT_TYPES
from redshank.rules.source import Source

EFFECTS = ("open_case", "label", "preserve", "action")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DURATION = re.compile(r"(\d{1,4})\s*(min|minutes?|h|hours?|d|days?)")
_MINUTES = {"m": 1, "h": 60, "d": 1440}
_MAX_HOURS = 24 * 365 * 10


def harshness(effect: Effect) -> int:
    """Grows with what an effect does to somebody: 0 for evidence, 1 for a label, 2 for a case, 3 and more for actions."""
    match effect:
        case Preserve():
            return 0
        case AddLabel():
            return 1
        case OpenCase():
            return 2
        case RequestAction(verb=verb):
            return 3 + HARSHNESS[verb]


def collect(fired: Iterable[Fired], *, live: bool = True) -> tuple[Effect, ...]:
    """The effects of all that fired, each once, in the order of doing; with `live`, of live rules alone."""
    effects = dict.fromkeys(effect for found in fired if found.live or not live for effect in found.effects)
    return tuple(sorted(effects, key=harshness))


def fits(effect: Effect, tag: str) -> bool:
    """Whether events of the type `tag` have what the effect is about."""
    parts = EVENT_TYPES[tag].parts
    if not parts:
        return isinstance(effect, Preserve)
    if isinstance(effect, RequestAction):
        return effect.target in parts or "report" in parts  # A report can be about any of them.
    return not isinstance(effect, AddLabel) or "account" in parts


def read_effects(source: Source, node: Node, *, harmless: bool = False) -> tuple[Effect, ...]:
    """The effects that a YAML list names; of an empty one, the rule only says that it fired. With `harmless`, no actions."""
    items = node.value if not isinstance(node, ScalarNode | MappingNode) else None
    if items is None:
        source.error_at(node, "expected a list of effects", f"Each begins with `- `: {', '.join(EFFECTS)}.")
        return ()
    out: list[Effect] = []
    for item in items:
        effect = _effect(source, item)
        if effect is None:
            continue
        if harmless and isinstance(effect, RequestAction):
            source.error_at(item, "an action is too harsh for what could not be evaluated", "Open a case instead.")
        elif effect in out:
            source.error_at(item, "this effect stands here twice")
        else:
            out.append(effect)
    return tuple(sorted(out, key=harshness))


LIMITED = ("open_case", "label", *(verb for verb in VERBS if verb != "label"))
"""What `at_most` can limit; `label` is both a label of ours and one that the platform is asked for."""


def kind_of(effect: Effect) -> str:
    """The kind under which an effect is limited; empty for keeping evidence, which nothing ever holds."""
    match effect:
        case Preserve():
            return ""
        case OpenCase():
            return "open_case"
        case AddLabel():
            return "label"
        case RequestAction(verb=verb):
            return verb


def read_at_most(source: Source, node: Node, effects: Iterable[Effect]) -> dict[str, int]:
    """How much of each kind a rule may ask for in an hour: `{suspend: 20, open_case: 500}`."""
    values = _mapping(source, node, LIMITED)
    asked = {kind_of(effect) for effect in effects}
    out: dict[str, int] = {}
    for name, value in (values or {}).items():
        number = _integer(source, value, name, 1, 1_000_000)
        if number is not None:
            out[name] = number
        if name not in asked:
            source.warn_at(value, f"the rule never asks for `{name}`")
    return out


def _effect(source: Source, node: Node) -> Effect | None:
    if isinstance(node, ScalarNode):
        name, name_node, body = node.value, node, None
    elif isinstance(node, MappingNode) and len(node.value) == 1 and isinstance(node.value[0][0], ScalarNode):
        name_node, body = node.value[0]
        name = name_node.value
    else:
        source.error_at(node, "expected one effect", "Such as `- preserve` or `- open_case: {queue: media}`.")
        return None
    match name:
        case "preserve":
            if body is not None:
                source.error_at(body, "`preserve` takes nothing")
                return None
            return Preserve()
        case "open_case":
            return _open_case(source, body)
        case "label":
            label = _slug(source, body or name_node, "label") if body is not None else None
            if body is None:
                source.error_at(name_node, "expected the label", "Write `label: NAME`.")
            return AddLabel(label=label) if label else None
        case "action":
            return _action(source, name_node, body)
        case _:
            hint = nearest(name, EFFECTS) or f"There are {', '.join(EFFECTS)}."
            if name in VERBS:
                hint = f"Write `action: {{{name}: {TARGETS[name][0]}}}`."
            source.error_at(name_node, f"unknown effect `{name}`", hint)
            return None


def _open_case(source: Source, body: Node | None) -> OpenCase | None:
    if body is None:
        return OpenCase()
    values = _mapping(source, body, ("queue", "priority", "deadline"))
    if values is None:
        return None
    arguments: dict[str, Any] = {}
    wrong = False
    for name, node in values.items():
        if name == "queue":
            value: Any = _slug(source, node, "queue")
        elif name == "priority":
            value = _integer(source, node, "priority", 0, 100)
        else:
            value = _minutes(source, node)
        wrong = wrong or value is None
        arguments["deadline_minutes" if name == "deadline" else name] = value
    return None if wrong else OpenCase(**arguments)


def _action(source: Source, name_node: Node, body: Node | None) -> RequestAction | None:
    hint = "Such as `action: {suspend: account, hours: 24}`."
    if body is None:
        source.error_at(name_node, "expected what to ask for", hint)
        return None
    values = _mapping(source, body, (*VERBS, "hours", "name"))
    if values is None:
        return None
    verbs = [verb for verb in VERBS if verb in values]
    if len(verbs) != 1:
        source.error_at(body, f"expected one of {', '.join(VERBS)}", hint)
        return None
    (verb,) = verbs
    target = _text(source, values[verb], verb)
    if target is not None and target not in TARGETS[verb]:
        near = nearest(target, TARGETS[verb]) or f"It can be {' or '.join(TARGETS[verb])}."
        source.error_at(values[verb], f"cannot {verb} `{target}`", near)
        target = None
    hours = label = None
    wrong = target is None
    if "hours" in values:
        if verb not in ("suspend", "restrict"):
            source.error_at(values["hours"], f"`hours` does not go with `{verb}`", "It goes with suspend and restrict.")
            wrong = True
        hours = _integer(source, values["hours"], "hours", 1, _MAX_HOURS)
        wrong = wrong or hours is None
    if verb == "label" and "name" not in values:
        source.error_at(body, "expected the label's name", "Such as `action: {label: post, name: graphic}`.")
        wrong = True
    elif "name" in values:
        if verb != "label":
            source.error_at(values["name"], f"`name` does not go with `{verb}`", "It goes with label.")
            wrong = True
        label = _slug(source, values["name"], "label")
        wrong = wrong or label is None
    return (
        None if wrong or target is None else RequestAction(verb=verb, target=target, label=label, duration_hours=hours)
    )


def _mapping(source: Source, node: Node, known: tuple[str, ...]) -> dict[str, Node] | None:
    if not isinstance(node, MappingNode):
        source.error_at(node, f"expected some of {', '.join(known)}", "Such as `{" + known[0] + ": …}`.")
        return None
    return read_mapping(source, node, known)


def read_mapping(source: Source, node: MappingNode, known: tuple[str, ...] | None, what: str = "") -> dict[str, Node]:
    """The values of a mapping by key; unknown, doubled and nested keys are errors. With `known` None, any text is a key."""
    out: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            source.error_at(key, "expected a plain key")
        elif known is not None and key.value not in known:
            meant = KEYS.get(key.value.lower(), "")
            hint = f"Did you mean `{meant}`?" if meant in known else nearest(key.value, known)
            hint = hint or f"There are {', '.join(known)}."
            source.error_at(key, f"unknown key `{key.value}`{what}", hint)
        elif key.value in out:
            source.error_at(key, f"the key `{key.value}` stands here twice")
        else:
            out[key.value] = value
    return out


def _text(source: Source, node: Node, name: str) -> str | None:
    if not isinstance(node, ScalarNode) or not node.value.strip():
        source.error_at(node, f"expected a text for `{name}`")
        return None
    return str(node.value)


def _slug(source: Source, node: Node, name: str) -> str | None:
    text = _text(source, node, name)
    if text is not None and not NAME.fullmatch(text):
        source.error_at(node, f"not a name for a {name}", "Use lower-case letters, digits, - and _; 64 at most.")
        return None
    return text


def _integer(source: Source, node: Node, name: str, low: int, high: int) -> int | None:
    value = node.value if isinstance(node, ScalarNode) and not node.style else ""
    if not re.fullmatch(r"-?[0-9]{1,9}", value) or not low <= int(value) <= high:
        source.error_at(node, f"expected a whole number from {low} to {high} for `{name}`")
        return None
    return int(value)


def _minutes(source: Source, node: Node) -> int | None:
    found = _DURATION.fullmatch(node.value) if isinstance(node, ScalarNode) else None
    if not found or int(found[1]) == 0:
        source.error_at(node, "expected a stretch of time for `deadline`", "Such as 30 min, 1 h, 2 days.")
        return None
    return int(found[1]) * _MINUTES[found[2][0]]

"""What people write who begin, or come from another language, and what to write here: hints for errors, and nothing else."""

from __future__ import annotations

import re

ELSEWHERE = {
    "link": 'A post has links: any(domain(link) in bank("known-domains") for link in post.links).',
    **dict.fromkeys(("user", "author", "actor", "sender", "profile"), "Whoever did it is `account`."),
    **dict.fromkeys(("lower", "upper", "casefold", "lowercase"), "contains(…), word(…) and matches(…) ignore case anyway."),
    **dict.fromkeys(("yes", "no"), "Write True or False."),
    "null": "What the platform did not send is missing: ask not known(…).",
    **dict.fromkeys(("haslabel", "haslabels", "label", "labels"), 'Ask "x" in account.labels.'),
    **dict.fromkeys(("regex", "regexmatch", "regexp", "search", "match"), 'Write matches(post.text, "…").'),
    **dict.fromkeys(("textcontains", "stringcontains", "includes"), 'Write contains(post.text, "…").'),
    **dict.fromkeys(("listlength", "stringlength", "length", "size"), "Write len(…)."),
    **dict.fromkeys(("exists", "isnull", "resolveoptional", "defined"), "Ask known(…)."),
    **dict.fromkeys(("rate", "counter", "unique"), 'Write count(per=account.id, over="day") or distinct(…, per=…, over="day").'),
    **dict.fromkeys(("timesince", "timedelta", "timestamp"), "Compare account.age < days(7), or now - event.at > hours(2)."),
}  # fmt: skip
"""What people write who come from another language, in lower case, and what to write here."""
PLACES = {
    "post.author": "Whoever wrote it is `account`.",
    "post.created_at": "When it happened is event.at.",
    "post.user": "Whoever wrote it is `account`.",
    "account.name": "It has handle and display_name.",
    "account.username": "It has handle and display_name.",
}
"""Attributes that stand elsewhere."""
KEYS = {
    **dict.fromkeys(("condition", "conditions", "if", "expression", "match", "where", "when_all", "rule"), "when"),
    **dict.fromkeys(("then", "do", "action", "actions", "rules_any"), "effects"),
    **dict.fromkeys(("name", "title"), "id"),
    **dict.fromkeys(("reason", "comment", "summary"), "description"),
    **dict.fromkeys(("state", "status", "enabled", "active"), "mode"),
    **dict.fromkeys(("examples", "tests", "positive"), "fires_on"),
    **dict.fromkeys(("limit", "limits", "max"), "at_most"),
}
"""Keys of a rule as others call them."""
PARTS = {
    "text": "post: {text: …}",
    "links": "post: {links: […]}",
    "age": "account: {age: 2 days}",
    "handle": "account: {handle: …}",
}
"""Fields that people write into an example without the part that has them."""

_WORDS = {
    **dict.fromkeys(("contains", "includes", "has"), 'Write contains(post.text, "…"); of a list, "…" in post.links.'),
    **dict.fromkeys(("matches", "like", "regex", "~"), 'Write matches(post.text, "…"), with a pattern of RE2.'),
    **dict.fromkeys(("startswith", "endswith", "begins"), 'Write matches(post.text, "^…") or matches(post.text, "…$").'),
    **dict.fromkeys(("day", "days", "hour", "hours", "minute", "minutes", "week", "weeks", "d", "h", "min"), "Write a duration as days(7), hours(2), minutes(30)."),
    **dict.fromkeys(("k", "m"), "Write the number with all its zeros."),
    "between": "Write 1 <= account.posts <= 5.",
    "is": "Write == or known(…).",
    **dict.fromkeys(("if", "then", "when"), "Write the condition alone; what is to be done stands under `effects:`."),
}  # fmt: skip
_SIGNS = {
    "<>": "Write !=.",
    "=>": "Write >=.",
    "=<": "Write <=.",
    "->": "Write >, < or ==.",
    "~=": 'Write matches(post.text, "…").',
}
_QUOTES = "“”„‟«»‹›‘’‚"
_OPEN_END = re.compile(r"(?:\b(?:and|or|not|in)|[<>=!+*/%,-])\s*$")


def syntax(message: str, text: str, at: int) -> tuple[str, int, int, str]:
    """A syntax error of Python's at a character of an expression, in the words of the rule language: what is wrong, from
    which character to before which, and a hint."""
    if at < len(text) and text[at] in _QUOTES:
        return "a quote that is not plain", at, at + 1, 'Texts stand in straight quotes: "…".'
    for sign, hint in _SIGNS.items():
        if sign in text[max(0, at - 1) : at + 2]:
            start = text.index(sign, max(0, at - 1))
            return f"the rule language does not have {sign}", start, start + len(sign), hint
    if "Maybe you meant '=='" in message or text[at : at + 1] == "=":
        return "expected a comparison", at, at + 1, "To compare, write == with two signs."
    if message.startswith("unterminated string"):
        hint = "A text that has a quote in it stands in quotes of the other kind."
        if text.rstrip().count('"') % 2 and "'" not in text:
            hint = "To YAML, ` #` begins a comment: put a condition that has one below `when: |`."
        return "a text without its closing quote", at, at + 1, hint
    if "was never closed" in message or "unmatched" in message or "does not match" in message:
        return message.replace("parenthesis", "bracket"), at, at + 1, ""
    for sign in ("&&", "||", "!"):
        if sign in text[max(0, at - 1) : at + 2]:
            return f"the rule language does not have {sign}", at, at + 1, "Write `and`, `or`, `not`."
    word = re.compile(r"\w+").match(text, at)
    said = re.sub(r"^\d+", "", word[0]) if word else ""
    if not said and (more := re.compile(r"(?<=\d)[a-zA-Z]+").match(text, at + 1)):
        said, word = more[0], more
    if word and said.lower() in ("and", "or", "not") and said != said.lower():
        return f"expected `{said.lower()}`, in small letters", word.start(), word.end(), ""
    if word and said.lower() in _WORDS:
        return f"the rule language does not have `{said}` here", word.start(), word.end(), _WORDS[said.lower()]
    if text[at : at + 1] == "/":
        return "not an expression", at, at + 1, 'A pattern stands in quotes: matches(post.text, "…").'
    if _OPEN_END.search(text):
        end = len(text.rstrip())
        return "the expression ends too early", end - 1, end, "Something must follow here."
    if "comma" in message:
        return "not an expression", at, at + 1, "Is a comma missing, or a quote?"
    reason = "" if message == "invalid syntax" else f": {message}"
    return f"not an expression{reason}", at, at + 1, ""


_YAML = (
    ("could not find expected ':'", "Is a `:` missing in the line before?"),
    ("did not find expected '-'", "All keys of one rule begin in the same column."),
    ("tab character", "YAML takes no tabs: indent by blanks."),
    ("cannot start any token", "YAML takes no tabs to indent, and no @, ` or % to begin with."),
)


def yaml_hint(reason: str) -> str:
    """What to do about a reason of YAML's; empty where nobody knows."""
    return next((hint for part, hint in _YAML if part in reason), "")

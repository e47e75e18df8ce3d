"""What can be asked of a platform. Each verb has an inverse way back: `restore` takes the target to where it was."""

from __future__ import annotations

from typing import Literal, get_args

Verb = Literal["remove", "restrict", "suspend", "label", "restore"]
VERBS: tuple[Verb, ...] = get_args(Verb)
HARSHNESS: dict[str, int] = {"restore": 0, "label": 1, "restrict": 2, "remove": 3, "suspend": 4}
"""Order in which one of several asked actions is called the harsher; also the order in which they are sent."""

TARGETS: dict[str, tuple[str, ...]] = {
    "remove": ("post", "media"),
    "restrict": ("account", "post", "media"),
    "suspend": ("account",),
    "label": ("account", "post", "media"),
    "restore": ("account", "post", "media"),
}
"""The kinds of subject that a verb can be asked for."""

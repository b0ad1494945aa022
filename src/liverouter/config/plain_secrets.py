"""The database's rule on plain secrets, for an answer before anything is written: settings take none. Pure.

The rule itself is `migrations/sql/0006_plain_secrets/plain_secrets.sql`; a test holds the two together. Both take time
that grows with the length of a value and with nothing else: each pattern reads a stretch of text once, a name is judged
once and not again for each element of its list, and the path to a node has a bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import Problem, first_problems
from liverouter.providers import REJECTED
from liverouter.secrecy.keys import longer, looks_like_key, step

if TYPE_CHECKING:
    from collections.abc import Iterator

_URL: Final = re.compile(
    r"://[^/?#\s:]*:[^/?#\s@]*@"
    r"|[?&][^?=&#]*(key|token|password|secret|signature|sig)=[^&#]",
    re.IGNORECASE,
)
_NAME: Final = re.compile(
    r"((api|access|account|private|secret|shared|signing|subscription)[^a-z0-9]?key"
    r"|token|password|passwd|passphrase|credentials?|secret|authorization)\Z"
)
_REFERENCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_PASTED: Final = re.compile(r"[A-Za-z0-9]{24}")  # in the place of a name: a key that was pasted there

_WORDS: Final = {
    "key": (
        "what looks like a key or a token stands here",
        "A key belongs into its own field, where it is sealed; in a shell: liverouter set --secret NAME",
    ),
    "url": (
        "a URL with a password or a key in it stands here",
        "Leave user, password and key out of the URL, and store the key sealed: liverouter set --secret NAME",
    ),
    "name": (
        "a plain value stands where a reference to a secret belongs",
        'Store it sealed, liverouter set --secret NAME, and write {"secret": "NAME"} here',
    ),
}


def plain_secrets(name: str, value: Any, where: str) -> list[Problem]:
    """Return a Problem for each plain secret in the setting *name*, none of which repeats it; *where* it stands.

    Of more than a hundred the first, and one that counts the others.
    """
    problems = []
    for place, reason in _found(name, value):
        message, hint = _WORDS[reason]
        member = place.rpartition(".")[2]
        problems.append(Problem("LR110", message, where + place, REJECTED.get(member, hint)))
    return list(first_problems(problems))


def _found(name: str, value: Any) -> list[tuple[str, str]]:
    """Return path and reason (a key of `_WORDS`) of each plain secret, those nearest to the row first."""
    nodes = _nodes(name, value)
    found = [(depth, place, reason) for place, depth, key, node in nodes if (reason := _reason(depth, key, node))]
    return [(place, reason) for _, place, reason in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Name:
    """What the name of a node says of it.

    Attributes:
        is_key: the name itself looks like a key.
        is_of_secret: what goes by that name is a secret.
    """

    is_key: bool
    is_of_secret: bool

    @classmethod
    def judged(cls, name: str) -> _Name:
        """Return what *name* says; not cheap, so once per name."""
        return cls(looks_like_key(name), _NAME.search(name.lower()) is not None)


def _nodes(name: str, value: Any) -> Iterator[tuple[str, int, _Name, Any]]:
    """Yield path, depth, name and value of each node; an element goes by its list's name."""
    waiting: list[tuple[str, int, _Name, Any]] = [("", 0, _Name.judged(name), value)]
    while waiting:  # not recursive: a row may be nested deeper than calls
        place, depth, key, node = waiting.pop()
        yield place, depth, key, node
        if isinstance(node, Mapping) and not (depth and is_reference(node)):
            for member, inner in node.items():
                judged = _Name.judged(str(member))
                waiting.append((longer(place, f".{step(str(member), is_key=judged.is_key)}"), depth + 1, judged, inner))
        elif isinstance(node, list):
            waiting += [(longer(place, f"[{index}]"), depth + 1, key, element) for index, element in enumerate(node)]


def _reason(depth: int, name: _Name, value: Any) -> str:
    """Return why a node holds a plain secret, a key of `_WORDS`, else ""; at *depth* 0 it is the row's own value."""
    is_text = isinstance(value, str)
    if name.is_key or (is_text and looks_like_key(value)):
        return "key"
    if is_text and _URL.search(value):
        return "url"
    if value is None or not name.is_of_secret or (depth and is_reference(value)):
        return ""
    # a number is a limit or a price there, max_token or cost_per_token, unless it is the row itself
    return "name" if depth == 0 or isinstance(value, str | Mapping) else ""


def is_reference(value: Any) -> bool:
    """Tell whether *value* refers to a secret, ``{"secret": NAME}``, and does so by a name and not by a pasted key."""
    if not isinstance(value, Mapping) or len(value) != 1 or not isinstance(name := value.get("secret"), str):
        return False
    return bool(_REFERENCE.fullmatch(name)) and not _PASTED.search(name) and not looks_like_key(name)

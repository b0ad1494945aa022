"""Values stay values: what a library would look up elsewhere is no value of a row, an entry or a secret. Pure.

litellm takes ``os.environ/NAME`` and ``oidc/…`` in any parameter for an order to read a variable, a file or a token
service, and would send what it finds there to the provider that the same row names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import Problem, first_problems
from liverouter.secrecy.keys import longer, step

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOKED_UP: Final = re.compile(
    r"os\.environ/|\A[\s\"']*(?:oidc|hashicorp_vault|aws_secret_manager|google_secret_manager|azure_key_vault)/",
    re.IGNORECASE,
)
_HINT: Final = (
    "Write the value itself. A key goes into the database sealed, liverouter set --secret NAME, "
    "or into the environment under its own name"
)


def is_looked_up(text: str) -> bool:
    """Tell whether a library would take *text* for the name of a value and not for a value."""
    return _LOOKED_UP.search(text) is not None


def looked_up(value: Any, where: str) -> list[Problem]:
    """Return an LR112 for each text in *value*, names of members included, that a library would look up."""
    return list(first_problems([_problem(place) for place in _places(value, where)]))


def _problem(place: str) -> Problem:
    return Problem("LR112", "what stands here is a reference that a library would look up elsewhere", place, _HINT)


def _places(value: Any, where: str) -> Iterator[str]:
    """Yield where such texts stand; not recursive: a row may be nested deeper than calls."""
    waiting: list[tuple[Any, str]] = [(value, where)]
    while waiting:
        node, place = waiting.pop()
        if isinstance(node, str):
            if is_looked_up(node):
                yield place
        elif isinstance(node, Mapping):
            for key, member in node.items():
                inside = longer(place, f".{step(str(key))}")
                if is_looked_up(str(key)):
                    yield inside
                waiting.append((member, inside))
        elif isinstance(node, list | tuple):
            waiting += [(element, longer(place, f"[{index}]")) for index, element in enumerate(node)]

"""What a key looks like, and paths into a value that show none. Pure.

The database has the same pattern, in `migrations/sql/0006_plain_secrets/plain_secrets.sql`; a test holds them together.
"""

from __future__ import annotations

import re
from typing import Final

_SHAPES: Final = (
    r"(^|[^A-Za-z0-9_-])("
    r"sk-[A-Za-z0-9_-]{8}"
    r"|(gh[oprsu]|github_pat|glpat|hf|gsk|xai|pplx|r8|nvapi|lsv2|xox[abeprs])[_-][A-Za-z0-9_-]{16}"
    r"|pat[/_-][A-Za-z0-9_.-]{16}"
    r"|dapi[0-9a-f]{32}"
    r"|AIza[A-Za-z0-9_-]{30}|ya29\.[A-Za-z0-9_-]{16}"
    r"|(AKIA|ASIA)[A-Z0-9]{16}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8}"
    r"|(Bearer|Basic) +[A-Za-z0-9._~+/=-]{8}"
    r")"
)
_KEY: Final = re.compile(_SHAPES + r'|-----BEGIN [A-Z0-9 ]*PRIVATE KEY|"private_key" *:')
_WHOLE_KEY: Final = re.compile(_SHAPES + r"[A-Za-z0-9._~+/=-]*")
_STEP: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_LONGEST_PLACE: Final = 200  # characters; 40,000 nodes with paths of 4,000 would take 160 MB


def looks_like_key(text: str) -> bool:
    """Tell whether *text* holds what a provider's key, an access token or a private key looks like."""
    return _KEY.search(text) is not None


def blank_keys(text: str) -> str:
    """Return *text* with ``***`` for each key and access token in it; private keys, which have many lines, stay."""
    return _WHOLE_KEY.sub(r"\1***", text)


def step(member: str, *, is_key: bool | None = None) -> str:
    """Return *member*, a name, as a path shows it: "…" where it is long, holds odd characters or looks like a key.

    *is_key* says whether it looks like a key, where the caller knows; None has it looked at here.
    """
    hidden = looks_like_key(member) if is_key is None else is_key
    return member if _STEP.fullmatch(member) and not hidden else "…"


def longer(place: str, step: str) -> str:
    """Return the path *place* with *step* behind it, cut to 200 characters."""
    return (place + step)[:_LONGEST_PLACE]

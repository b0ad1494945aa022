"""Text that may hold a credential, made fit to be shown and kept: logs, errors, reports, pages. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from liverouter.secrecy.keys import blank_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TEXT: Final = 2_000  # characters of an error's text, wherever it is kept
_TOKEN: Final = re.compile(
    r"(sk-[A-Za-z0-9_-]{6})[A-Za-z0-9_-]+"
    r"|(Bearer\s+)[^\s,]+"
    r"|(ya29\.)[A-Za-z0-9_.-]+"  # Google's access tokens
    r"|((?:api[-_]?key|token|password|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"',}&]+"
    r"|([?&][^?=&#\s]*(?:key|signature|sig)=)[^&#\s\"']+"
    r"|(\"private_key\"\s*:\s*\")[^\"]*"
    r"|(://[^/\s:@]*:)[^@\s/]+(?=@)"
    r"|-----BEGIN[^-]*PRIVATE KEY-----.*?(?:-----END[^-]*PRIVATE KEY-----|$)",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST_READ: Final = 10_000  # characters that are read beyond those that are shown; providers send megabytes
_MAX_MASKED: Final = 64_000  # characters of a text that `clean` hands to `mask`


def mask(text: str, limit: int = 300) -> str:
    """Return *text* with what looks like a credential blanked, at most *limit* characters long.

    Of a text that is far longer than that, only the beginning is read.
    """
    beginning = text[: limit + _LONGEST_READ]
    masked = blank_keys(_TOKEN.sub(lambda m: next((g for g in m.groups() if g), "") + "***", beginning))
    if len(beginning) < len(text) and len(masked) <= limit:
        masked = masked.rpartition(" ")[0] + "…"  # half a credential at the cut is not known for one
    return masked if len(masked) <= limit else masked[: limit - 1] + "…"


def clean(text: str, secrets: Iterable[str] = (), limit: int = MAX_TEXT) -> str:
    """Return *text* without *secrets* and what looks like one, at most *limit* characters of it."""
    text = text.partition("Traceback (most recent call last)")[0].rstrip() or text  # litellm puts its own in there
    for secret in filter(str.strip, secrets):  # a blank is in every text
        text = text.replace(secret, "***")
    return mask(text[:_MAX_MASKED], limit)


def brief(exc: BaseException) -> str:
    """Return the class and, where there is one, the masked text of *exc*: a line on an error that nobody foresaw."""
    return f"{type(exc).__name__}: {mask(str(exc))}".removesuffix(": ")

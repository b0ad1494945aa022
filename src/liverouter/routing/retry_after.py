"""How long a provider asks to be left alone: in a header as seconds, milliseconds or a date, or in Google's details."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any, Final

_SECONDS: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")  # of protobuf's Duration, as JSON has it


def asked_s(headers: Mapping[str, str], details: Iterable[Any] = ()) -> float | None:
    """Return the seconds that *headers* of an error or its *details* ask for, the most exact first; None for none."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    if (text := headers.get("retry-after")) is not None:
        return seconds if (seconds := _number(text)) is not None else _until(text)
    delays = [detail.get("retryDelay") for detail in details if isinstance(detail, Mapping)]
    found = next((match for delay in delays if isinstance(delay, str) and (match := _SECONDS.fullmatch(delay))), None)
    return float(found[1]) if found else None


def _number(text: str | None) -> float | None:
    """Return the number that *text* is, 0 for less; None where it is none."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else max(0.0, number)


def _until(text: str) -> float | None:
    """Return the seconds until the HTTP date *text*, 0 for one that is past; None where it is no date.

    C's `asctime` names no zone, and HTTP takes it: such a date is in UTC as any other.
    """
    try:
        date = email.utils.parsedate_to_datetime(text)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())
    except (ValueError, OverflowError):  # no date, or one whose zone is any number of hours away
        return None

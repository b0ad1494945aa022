"""Alerts: one post to `llm_alert_webhook` when `problems` gains or loses an error, by one process of the fleet.

The database says what is to be told, and to whom it says it: see `migrations/sql/0012_health/alerts.sql`. So every
client may be the sender, what was told outlives them all, and none needs a lock of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from liverouter.errors import DatabaseError
from liverouter.events import AlertFailed, AlertSent
from liverouter.routing.unreached import lost_by
from liverouter.secrecy.origins import origin_of
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from liverouter.bus import Bus
    from liverouter.generation import Store
    from liverouter.postgres.repository import SettingsRepository
    from liverouter.secrecy.sealing import Secret

_EVERY_S: Final = 5.0
_TIMEOUT_S: Final = 10.0
_MOST_LINES: Final = 20  # of one post; the others are counted
_SLACK: Final = "hooks.slack.com"
_FIRST_REFUSAL: Final = 300  # an HTTP status: a redirect is none that is followed
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})  # Slack's, for texts that call nobody


class Alerts:
    """Looks every few seconds whether an alert is to be sent, and sends it.

    Args:
        repository: says what is to be told, and learns what came of it.
        store: has the generation in force, whose rows name the webhook.
        bus: hears of what was sent, or was not.
    """

    def __init__(self, *, repository: SettingsRepository, store: Store, bus: Bus) -> None:
        self._repository, self._store, self._bus = repository, store, bus

    async def run(self) -> None:
        """Look until cancelled; without a webhook nothing is asked. A database that does not answer is asked again."""
        while True:
            generation = self._store.current
            if generation is not None and (webhook := generation.snapshot.alert_webhook) is not None:
                with contextlib.suppress(DatabaseError):  # whoever reads and reports tells of that
                    await self._look(webhook)
            await asyncio.sleep(_EVERY_S)

    async def _look(self, webhook: Secret) -> None:
        """Send what is to be told now, if this process is to tell it.

        Raises:
            DatabaseError: it cannot be asked, or not be told what came of it.
            Exception: what nobody foresaw; the turn is another's then.
        """
        if (news := await self._repository.next_alert()) is None:
            return
        url = webhook.reveal()
        try:
            error = await _post(url, document(news, host=urlsplit(url).hostname or ""))
        except Exception:
            await self._repository.settle_alert(news["ticket"], "an error nobody foresaw, which the log tells")
            raise
        await self._repository.settle_alert(news["ticket"], error)
        gained, lost, origin = len(news["gained"]), len(news["lost"]), origin_of(url)
        self._bus.emit(AlertSent(origin, gained, lost) if error is None else AlertFailed(origin, gained, lost, error))


def document(news: Mapping[str, Any], *, host: str) -> dict[str, Any]:
    """Return what is posted of *news* to *host*: a text alone where that is Slack's, else with each error in full."""
    news = {kind: [{name: mask(text, 1_000) for name, text in item.items()} for item in news[kind]] for kind in _KINDS}
    lines = [f"{word}: {_line(item)}" for kind, word in _KINDS.items() for item in news[kind]]
    text = "\n".join(_bounded(lines))
    if host == _SLACK:
        return {"text": text.translate(_ESCAPES)}
    return {"source": "liverouter", "text": text, **news}


_KINDS: Final = {"gained": "error", "lost": "over"}  # what `problems` gained and lost, each with its word in the text


def _line(item: Mapping[str, str]) -> str:
    return f"{item['object']}: {item['message']} [{item['code']}]"


def _bounded(lines: Sequence[str]) -> list[str]:
    """Return the first of *lines*, and how many more there are."""
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], f"and {more} more"] if more > 0 else list(lines)


async def _post(url: str, body: Mapping[str, Any]) -> str | None:
    """Post *body* to *url* alone: no redirect is followed, no cookie or credential sent; return why that failed.

    The error is a status or words of ours, which name the host at most: texts of exceptions repeat the URL.
    """
    import aiohttp  # which takes a moment, and few have a webhook

    try:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        jar = aiohttp.DummyCookieJar()
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=jar, trust_env=False) as session,
            session.post(url, json=body, allow_redirects=False) as response,
        ):
            return None if response.status < _FIRST_REFUSAL else f"HTTP {response.status}"
    except TimeoutError:
        return f"no answer within {_TIMEOUT_S:g} s"
    except (aiohttp.ClientConnectionError, OSError) as exc:
        return lost_by(exc, url).text or "no answer came in time"
    except (aiohttp.ClientError, ValueError):
        return "the receiver's answer cannot be read"

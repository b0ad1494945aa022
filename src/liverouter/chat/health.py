"""How it goes lately: at each deployment, and with the calls of each name. Kept in memory, told with every report.

Pure, not thread-safe, by a clock that its owner reads. What a caller is to blame for is never handed in here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from liverouter.errors import CODES, CallError
from liverouter.routing.causes import cause_of, kind_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from liverouter.routing.causes import Kind

_IN_A_ROW: Final = 5  # failed attempts after which it fails, however lately it answered
_QUIET_S: Final = 8.0  # a single failure counts where it has not answered for so long
_DAY_S: Final = 86_400.0
_WORDS: Final[Mapping[Kind, str]] = {
    "authentication": "the provider does not know the key",
    "permission": "the account may not do this",
    "not_found": "there is no such model, or no such address",
    "rate_limit": "too many calls, or no quota left",
    "timeout": "no answer came in time",
    "connection": "the provider cannot be reached",
    "context_overflow": "the prompt is longer than the model reads",
    "refusal": "the provider refused to answer",
    "invalid_request": "the provider does not take the request",
    "server": "the provider fails",
}
_NO_STATUS: Final = frozenset({"timeout", "connection"})  # nobody answered with one
_IN_WORDS: Final[Mapping[int, str]] = {  # by status, where that says more; libraries give 500 to what they cannot read
    402: "no money left, or a limit reached, HTTP 402",
    500: "the provider fails, or its answer cannot be read",
}
_MOST: Final = 1_000  # deployments, and names, that are remembered; far more than any config has


@dataclass(slots=True)
class _Course:
    """The latest answer, and the failures since. Times are monotonic seconds, None for never.

    Attributes:
        failing_since: when the first failure after the latest answer was.
        failed_at: when the latest one was.
        in_a_row: how many there were.
        cause: of the latest one, as `in_words` says it.
        is_told: an event told that it fails or cools, and none that it is over.
    """

    answered_at: float | None = None
    failing_since: float | None = None
    failed_at: float | None = None
    in_a_row: int = 0
    cause: str = ""
    is_told: bool = False

    def answered(self, now: float) -> bool:
        """Note an answer; return whether it ends what was told."""
        self.answered_at = now
        was_told, self.is_told = self.is_told, False
        self.failing_since, self.failed_at, self.in_a_row = None, None, 0
        return was_told

    def failed(self, now: float, cause: str) -> None:
        """Note a failure."""
        if self.failing_since is None:
            self.failing_since = now
        self.failed_at, self.cause = now, cause
        self.in_a_row += 1

    def is_failing(self, now: float) -> bool:
        """Tell whether it fails: one failure between two answers of a busy process says nothing."""
        if self.failing_since is None:
            return False
        return self.in_a_row >= _IN_A_ROW or self.answered_at is None or now - self.answered_at >= _QUIET_S

    def counts_at(self, now: float) -> float | None:
        """Return when the failures will count that do not yet, if no answer comes; None where there are none."""
        if self.failing_since is None or self.answered_at is None or self.is_failing(now):
            return None
        return self.answered_at + _QUIET_S


@dataclass(slots=True)
class _Calls(_Course):
    """The calls of one name.

    Attributes:
        tried: the deployments that calls have asked since the latest answer.
        longest: tokens of the longest prompt of the present day of this process, which began at `day`.
        longest_before: of the day before.
    """

    tried: frozenset[str] = frozenset()
    day: float = 0.0
    longest: int = 0
    longest_before: int = 0

    def prompted(self, now: float, tokens: int) -> None:
        """Note the length of a prompt that was answered."""
        if now - self.day >= _DAY_S:
            self.longest_before = self.longest if now - self.day < 2 * _DAY_S else 0
            self.day, self.longest = now, 0
        self.longest = max(self.longest, tokens)


C = TypeVar("C", bound=_Course)


@dataclass(slots=True)
class Health:
    """What one client knows of its deployments, by their ids, and of its calls, by the names they were made under."""

    _deployments: dict[str, _Course] = field(default_factory=dict)
    _calls: dict[str, _Calls] = field(default_factory=dict)
    _has_news: bool = False

    def answered(self, name: str, identifier: str, tokens: int, now: float) -> bool:
        """Note that *identifier* answered a prompt of *tokens*; return whether an event told that it would not."""
        calls, course = _of(self._calls, name, _Calls), _of(self._deployments, identifier, _Course)
        self._has_news |= calls.is_failing(now) or course.is_failing(now)
        calls.answered(now)
        calls.tried = frozenset()
        calls.prompted(now, tokens)
        return course.answered(now)

    def failed(self, identifier: str, cause: str, now: float) -> None:
        """Note that an attempt at *identifier* failed."""
        self._failed(_of(self._deployments, identifier, _Course), now, cause)

    def call_failed(self, name: str, tried: Collection[str], cause: str, now: float) -> None:
        """Note that a call under *name* got no answer of those that it *tried*."""
        calls = _of(self._calls, name, _Calls)
        self._failed(calls, now, cause)
        calls.tried |= frozenset(tried)

    def _failed(self, course: _Course, now: float, cause: str) -> None:
        """Note a failure of *course*."""
        failed_before = course.is_failing(now)
        course.failed(now, cause)
        self._has_news |= course.is_failing(now) and not failed_before

    def take_news(self) -> bool:
        """Return whether something began to fail, or does no longer, since this was asked last."""
        news, self._has_news = self._has_news, False
        return news

    def told(self, identifiers: Collection[str]) -> None:
        """Note that an event told that *identifiers* fail, or cool."""
        for identifier in identifiers:
            _of(self._deployments, identifier, _Course).is_told = True

    def counts_in_s(self, now: float) -> float | None:
        """Return the seconds until failures of which no report tells yet begin to count; None where there are none."""
        courses = [*self._deployments.values(), *self._calls.values()]
        moments = [at for course in courses if (at := course.counts_at(now)) is not None]
        return min(moments) - now if moments else None

    def facts(self, name: str, identifiers: Collection[str], now: float) -> dict[str, dict[str, Any]]:
        """Return what a report says of each of *identifiers*, which serve *name*; what there is not is left out.

        ``answered_ms``, ``failing_ms`` and ``failed_ms`` are how long ago the latest answer and the first and latest
        failure since were, with the latter's ``cause``; ``calls_failing_ms`` and ``calls_failed_ms`` the same of calls
        of the name. They fail only while it has no deployment that none of them has asked.
        ``longest_prompt`` is in tokens, of one day at least and two at most.
        """
        calls = self._calls.get(name, _Calls())
        common: dict[str, Any] = {"longest_prompt": max(calls.longest, calls.longest_before) or None}
        if calls.is_failing(now) and calls.tried.issuperset(identifiers):
            common |= {
                "calls_failing_ms": _ago(calls.failing_since, now),
                "calls_failed_ms": _ago(calls.failed_at, now),
            }
        told: dict[str, dict[str, Any]] = {}
        for identifier in identifiers:
            course = self._deployments.get(identifier, _Course())
            facts = {**common, "answered_ms": _ago(course.answered_at, now)}
            if course.is_failing(now):
                since, last = _ago(course.failing_since, now), _ago(course.failed_at, now)
                facts |= {"failing_ms": since, "failed_ms": last, "cause": course.cause}
            told[identifier] = {key: value for key, value in facts.items() if value is not None}
        return told


def _of(known: dict[str, C], key: str, kind: type[C]) -> C:
    """Return the course of *key*, a new one of *kind* where there is none; too many are forgotten, the oldest first."""
    if (course := known.get(key)) is None:
        if len(known) >= _MOST:
            del known[next(iter(known))]
        course = known[key] = kind()
    return course


def _ago(then: float | None, now: float) -> float | None:
    """Return the milliseconds from *then* to *now*, None for None."""
    return None if then is None else round((now - then) * 1000, 1)


def in_words(error: BaseException) -> str:
    """Return why an attempt failed as an operator reads it, with the HTTP status that it came to where there was one.

    `problems` takes what ends in 401 to 404 for what only an operator can mend.
    """
    kind, cause = kind_of(error), cause_of(error)
    if isinstance(error, CallError):
        words = CODES[error.code]
        return f"{words}, HTTP {cause.status}" if cause.is_for_an_operator else words
    words = _WORDS[kind or "server"]
    return words if kind in _NO_STATUS else _IN_WORDS.get(cause.status, f"{words}, HTTP {cause.status}")

"""Every error liverouter raises: what happened [code at where]. How to mend it.

Codes are grouped and never reused: LR1xx config, LR2xx database, LR3xx router, LR4xx client, LR5xx secrets,
LR6xx daemon. No message, hint or repr in here may carry a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "info"]
MOST_PROBLEMS: Final = 100  # told of one config; a page, a log line and a report take no more
_LONGEST_WORD: Final = 60  # characters that `did_you_mean` compares; it takes quadratic time

CODES: Final[dict[str, str]] = {
    "LR100": "a required setting is missing",
    "LR101": "unknown provider",
    "LR102": "a credential is missing",
    "LR103": "a value has the wrong type",
    "LR104": "a value is out of range",
    "LR105": "a URL cannot be used",
    "LR106": "unknown setting",
    "LR107": "a setting this provider cannot use",
    "LR108": "two deployments are the same",
    "LR109": "a package that the provider is called by is not installed",
    "LR110": "a plain secret stands where only a reference may",
    "LR111": "a credential would go where it was not meant to",
    "LR112": "a value is a reference that a library would look up",
    "LR113": "a stored Google credential is no service account of Google's",
    "LR114": "a parameter is sent otherwise than the rows say, as the model takes it",
    "LR115": "an app asks for a named model that no row configures",
    "LR116": "no model can have that name",
    "LR117": "litellm alone serves a provider, and is off",
    "LR118": "litellm is not asked for that model here",
    "LR119": "the environment holds credentials that litellm would use in place of a row's",
    "LR120": "an exported config cannot be read",
    "LR121": "an exported config names a secret that is not stored here",
    "LR123": "a key holds what no request can carry",
    "LR201": "the database cannot be reached",
    "LR202": "the database refused the login",
    "LR203": "the database does not exist",
    "LR204": "the schema is not installed",
    "LR205": "the schema is newer than this liverouter",
    "LR206": "the schema is older than this liverouter",
    "LR207": "the database role lacks a right",
    "LR208": "a statement failed or took too long",
    "LR209": "the database is read-only",
    "LR210": "notifications do not arrive; polling",
    "LR211": "somebody else changed the config first",
    "LR212": "the database refused the write",
    "LR213": "no such revision",
    "LR214": "rows were changed without a revision",
    "LR215": "roles cannot be called so",
    "LR216": "another database of the server shares the roles",
    "LR220": "the embedded PostgreSQL cannot run",
    "LR221": "Redis passes no wake-ups on; polling",
    "LR225": "the PostgreSQL that `liverouter serve` runs is down",
    "LR301": "the Router cannot be built",
    "LR302": "every deployment failed",
    "LR303": "the provider's stream was cut off",
    "LR304": "the provider's answer was empty",
    "LR305": "the provider refused to answer",
    "LR306": "shared cooldowns are off: Redis does not answer",
    "LR307": "no answer came in time",
    "LR308": "the request cannot be written as the provider wants it",
    "LR309": "the installed litellm cannot be used",
    "LR310": "the provider cannot be reached",
    "LR311": "the provider's answer calls a tool in a way that cannot be read",
    "LR312": "the provider's answer ended in an error",
    "LR313": "a parameter of the call has the wrong type",
    "LR314": "the call is about a built-in tool that the provider does not have",
    "LR320": "calls are not answered: every deployment fails",
    "LR321": "a primary fails",
    "LR322": "a deployment is left alone for a while",
    "LR323": "a key is refused by its provider",
    "LR324": "a fallback has not been needed for two weeks",
    "LR325": "a fallback fails",
    "LR326": "a model is retired, or will be soon",
    "LR327": "a fallback reads less than calls are long",
    "LR328": "alerts are not delivered",
    "LR329": "a fallback failed when it was last asked, a day ago or longer",
    "LR401": "no config is live yet",
    "LR402": "the client is closed",
    "LR403": "an instance rejected the revision",
    "LR404": "not every instance applied the revision in time",
    "LR405": "a process option is wrong",
    "LR406": "a blocking call where only async ones are served",
    "LR407": "an instance stopped reporting",
    "LR408": "an instance runs something else than the rows say",
    "LR409": "threads are no threads here",
    "LR501": "a process has no keyring to open or seal secrets with",
    "LR502": "sealed with a key this process does not have",
    "LR503": "a sealed value does not open",
    "LR504": "the snapshot file cannot be used",
    "LR601": "a token is needed",
    "LR602": "the request comes from elsewhere",
    "LR603": "the request cannot be understood",
    "LR604": "the request is too large",
    "LR605": "the request is not JSON",
    "LR606": "too many tries",
    "LR607": "there is no such thing here",
    "LR608": "the request does not say which revision it edits",
    "LR609": "the daemon is busy",
    "LR610": "the daemon cannot listen",
    "LR699": "an error nobody foresaw",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a config, an environment or a database, and how to mend it.

    Attributes:
        code: a key of CODES.
        message: what happened; never a secret.
        where: "settings.llm_provider", "environment ANTHROPIC_API_KEY", "database".
        hint: how to mend it; may be empty.
        severity: an error rejects the revision, a warning does not; "info" is something to know.
    """

    code: str
    message: str
    where: str
    hint: str
    severity: Severity = "error"

    def __str__(self) -> str:
        """Return ``what happened [code at where]. How to mend it.``."""
        return _sentence(self.message, self.code, self.where, self.hint)

    def as_dict(self) -> dict[str, str]:
        """Return the fields as JSON-ready strings."""
        return {
            "severity": self.severity,
            "code": self.code,
            "where": self.where,
            "message": self.message,
            "hint": self.hint,
        }


class LiveRouterError(Exception):
    """Base of every error that liverouter raises on purpose."""

    code: str
    message: str
    where: str
    hint: str

    def __init__(self, message: str, *, code: str, where: str, hint: str = "") -> None:
        """Store the parts; ``str()`` joins them into one sentence."""
        self.code, self.message, self.where, self.hint = code, message, where, hint
        super().__init__(_sentence(message, code, where, hint))

    @property
    def problem(self) -> Problem:
        """Return code, message, where and hint as a Problem."""
        return Problem(self.code, self.message, self.where, self.hint)


class OptionsError(LiveRouterError):
    """A process option (constructor argument or LIVEROUTER_* variable) is wrong; the command line exits 78."""

    def __init__(self, message: str, *, where: str, hint: str = "") -> None:
        """Build an LR405."""
        super().__init__(message, code="LR405", where=where, hint=hint)


class DatabaseError(LiveRouterError):
    """The database cannot be used as asked: LR201 to LR221."""


class ConflictError(DatabaseError):
    """A write named an expected revision that is no longer the head (LR211)."""


class WriteRefusedError(DatabaseError):
    """The database refused a write, a plain secret for example (LR212)."""


class SecretError(LiveRouterError):
    """A secret cannot be sealed or opened: LR5xx."""


class ConfigError(LiveRouterError):
    """A revision was rejected; `problems` lists everything that is wrong with it, as far as `first_problems` goes."""

    problems: tuple[Problem, ...]

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Take the Problems of one rejection; the first error gives the code."""
        self.problems = problems = first_problems(problems)
        first = next((p for p in problems if p.severity == "error"), problems[0])
        super().__init__(_listing(problems), code=first.code, where=first.where, hint=first.hint)
        self.args = (_listing(problems),)


class NotReadyError(LiveRouterError):
    """No generation is live yet; `problems` lists every reason and how to mend it (LR401)."""

    problems: tuple[Problem, ...]

    def __init__(self, problems: Sequence[Problem], *, waited_s: float, waiting_for: str = "", hint: str = "") -> None:
        """Take what was known when the wait of *waited_s* seconds ended.

        Args:
            problems: what is wrong, as far as anything is.
            waited_s: what the wait took.
            waiting_for: "importing litellm, since 41 s"; empty where somebody has to mend the settings.
            hint: how to have that end, where there are no Problems.
        """
        self.problems = problems = first_problems(problems)
        message = f"no config is live after {round(waited_s, 1):g} s"
        if waiting_for:
            message += f", waiting for: {waiting_for}"
        hint = problems[0].hint if problems else hint
        super().__init__(message, code="LR401", where="get_chat_model", hint=hint)
        self.args = (f"{message} [LR401]. {_listing(problems)}" if problems else f"{message} [LR401]. {hint}",)


class ClosedError(LiveRouterError):
    """The client was closed (LR402)."""

    def __init__(self) -> None:
        """Build an LR402."""
        super().__init__(
            "this LiveRouter is closed", code="LR402", where="LiveRouter", hint="Open a new one, or close it later."
        )


class ModelNameError(LiveRouterError, ValueError):
    """The application asks for a named model that no row can ever configure (LR116)."""

    def __init__(self, name: object) -> None:
        """Name it, as far as it is a text."""
        shown = repr(name[:60]) if isinstance(name, str) else f"of type {type(name).__name__}"
        super().__init__(
            f"no model can have the name {shown}",
            code="LR116",
            where="get_chat_model",
            hint="A name begins with a-z, then up to 31 of a-z, 0-9, _ and - follow: get_chat_model('fast').",
        )


class RolloutError(LiveRouterError):
    """A revision was rejected by an instance (LR403) or not applied by all in time (LR404)."""


class CallError(LiveRouterError):
    """A model call failed in a way liverouter itself found: LR302 to LR314."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` for the nearest of *known*, or an empty string."""
    near = difflib.get_close_matches(word[:_LONGEST_WORD].lower(), list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""


def first_problems(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return *problems*; of more than MOST_PROBLEMS the first, and one that counts the others."""
    if len(problems) <= MOST_PROBLEMS + 1:
        return tuple(problems)
    rest = problems[MOST_PROBLEMS:]
    hint = "Mend the first ones, and look again"
    more = Problem(rest[0].code, f"and {len(rest)} more problems", rest[0].where, hint, rest[0].severity)
    return (*problems[:MOST_PROBLEMS], more)


def _sentence(message: str, code: str, where: str, hint: str) -> str:
    """Return ``what happened [code at where]. How to mend it.``."""
    return f"{message} [{code} at {where}]. {hint}".rstrip()


def _listing(problems: Sequence[Problem]) -> str:
    """Return one Problem as its sentence, several as a list of sentences."""
    if len(problems) == 1:
        return str(problems[0])
    return f"{len(problems)} problems:" + "".join(f"\n  - {p}" for p in problems)

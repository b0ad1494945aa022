"""What a provider's own words mean: whose fault it is that it did not answer, whatever status they came with.

Providers give 400, the caller's status, to what only an operator can mend: no money, a closed account, a model that is
not there. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from liverouter.routing.causes import Kind
    from liverouter.routing.said import Said


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a provider's own words mean: the HTTP status that fits them, and the kind where they say one."""

    status: int
    kind: Kind | None = None


_NO_MONEY: Final = Verdict(402, "permission")
_BARRED: Final = Verdict(403, "permission")
_BAD_KEY: Final = Verdict(401, "authentication")
_NO_MODEL: Final = Verdict(404, "not_found")
_NAME: Final = r"""["'`]?[\w.:@/-]{1,200}["'`]?"""  # of a model, with or without quotes

# (where they stand, the words, what they mean). A code is a whole `code`, `type`, `status` or `reason`, and a message
# begins with the words, in whatever case: what follows them may be the caller's own text, which providers repeat.
_MEANINGS: Final[tuple[tuple[Literal["code", "message"], str, Verdict], ...]] = (
    # Anthropic
    ("code", "billing_error", _NO_MONEY),
    ("message", r"your credit balance is too low\b", _NO_MONEY),
    ("message", r"you have reached your specified (workspace )?api usage limits\b", _NO_MONEY),
    ("message", r"(this|your) organization has been disabled\b", _BARRED),
    ("message", r"this credential is only authorized for use with\b", _BARRED),
    # OpenAI
    ("code", "billing_hard_limit_reached", _NO_MONEY),
    ("code", "billing_not_active", _NO_MONEY),
    ("code", "account_deactivated", _BARRED),
    ("code", "unsupported_country_region_territory", _BARRED),
    ("code", "invalid_api_key", _BAD_KEY),
    ("code", "model_not_found", _NO_MODEL),
    ("message", r"billing hard limit has been reached\b", _NO_MONEY),
    ("message", r"invalid model id\b", _NO_MODEL),
    ("message", rf"the (requested )?model {_NAME} (does not exist|has been deprecated)\b", _NO_MODEL),
    # Azure OpenAI
    ("code", "DeploymentNotFound", _NO_MODEL),
    ("code", "OperationNotSupported", _NO_MODEL),
    ("code", "InvalidApiVersionParameter", _NO_MODEL),
    ("code", "MissingApiVersionParameter", _NO_MODEL),
    ("code", "UnsupportedApiVersion", _NO_MODEL),
    ("code", "unknown_model", _NO_MODEL),
    ("code", "unavailable_model", _NO_MODEL),
    ("message", r"the api deployment for this resource does not exist\b", _NO_MODEL),
    ("message", r"(unsupported api version|(the )?api[ -]version .{0,60}(not supported|invalid)\b)", _NO_MODEL),
    ("message", rf"model {_NAME} is enabled only for api versions\b", _NO_MODEL),
    # Google
    ("code", "BILLING_DISABLED", _NO_MONEY),
    ("code", "API_KEY_INVALID", _BAD_KEY),
    ("code", "API_KEY_SERVICE_BLOCKED", _BARRED),
    ("code", "CONSUMER_INVALID", _BARRED),
    ("code", "CONSUMER_SUSPENDED", _BARRED),
    ("code", "SERVICE_DISABLED", _BARRED),
    ("message", r"api key (not valid|expired)\b", _BAD_KEY),
    ("message", r"user location is not supported\b", _BARRED),
    ("message", r"gemini api free tier is not available in your country\b", _BARRED),
    ("message", rf"project {_NAME} is not allowed to use publisher model\b", _BARRED),
    ("message", rf"(the )?publisher model {_NAME} (was not found|not found|is not servable)\b", _NO_MODEL),
    # Snowflake Cortex
    ("message", r"budget exceeded\b", _NO_MONEY),
    ("message", r"trial accounts are not allowed\b", _BARRED),
    ("message", r"unknown model\b", _NO_MODEL),
    ("message", rf"(the )?model {_NAME} is (unavailable|not available)\b", _NO_MODEL),
)


def verdict_on(said: Said) -> Verdict:
    """Return what *said* means: its words where they are known, else its status."""
    known = next((verdict for where, words, verdict in _MEANINGS if _stands(where, words, said)), None)
    return known or Verdict(said.status)


def _stands(where: Literal["code", "message"], words: str, said: Said) -> bool:
    """Tell whether *said* has these words there: one of its codes, or the beginning of its message."""
    if where == "code":
        return words in said.codes
    return re.match(words, said.message, re.IGNORECASE) is not None

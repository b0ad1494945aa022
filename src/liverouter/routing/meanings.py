"""What a provider's own words mean: whose fault it is that it did not answer, whatever status they came with.

Providers give 400, the caller's status, to what only an operator can mend: no money, a closed account, a model that is
not there. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.routing.causes import Kind
    from liverouter.routing.said import Said


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a provider's own words mean.

    Attributes:
        status: the HTTP status that fits them.
        kind: of error, where they say one.
        retry_after_s: the seconds that they ask to be left alone, None where they ask for none.
    """

    status: int
    kind: Kind | None = None
    retry_after_s: float | None = None


_NO_MONEY: Final = Verdict(402, "permission")
_BARRED: Final = Verdict(403, "permission")
_BAD_KEY: Final = Verdict(401, "authentication")
_NO_MODEL: Final = Verdict(404, "not_found")
_REFUSED: Final = Verdict(400, "refusal")

_CODES: Final[Mapping[str, Verdict]] = {  # the whole of a `code`, `type`, `status` or `reason`
    "billing_error": _NO_MONEY,
    "billing_hard_limit_reached": _NO_MONEY,
    "billing_not_active": _NO_MONEY,
    "BILLING_DISABLED": _NO_MONEY,
    "account_deactivated": _BARRED,
    "unsupported_country_region_territory": _BARRED,
    "API_KEY_SERVICE_BLOCKED": _BARRED,
    "CONSUMER_INVALID": _BARRED,
    "CONSUMER_SUSPENDED": _BARRED,
    "SERVICE_DISABLED": _BARRED,
    "invalid_api_key": _BAD_KEY,
    "API_KEY_INVALID": _BAD_KEY,
    "model_not_found": _NO_MODEL,
    "unknown_model": _NO_MODEL,
    "unavailable_model": _NO_MODEL,
    "DeploymentNotFound": _NO_MODEL,
    "OperationNotSupported": _NO_MODEL,
    "InvalidApiVersionParameter": _NO_MODEL,
    "MissingApiVersionParameter": _NO_MODEL,
    "UnsupportedApiVersion": _NO_MODEL,
    "content_filter": _REFUSED,
    "content_policy_violation": _REFUSED,
    "invalid_prompt": _REFUSED,
    "ResponsibleAIPolicyViolation": _REFUSED,
}

# How a message begins, in whatever case. What follows may be the caller's own text, which providers repeat.
_NAME: Final = r"""["'`]?[\w.:@/-]{1,200}["'`]?"""  # of a model or a project, with or without quotes
_SAYS_NO_MONEY: Final = re.compile(
    r"(?:your credit balance is too low"
    r"|you have reached your specified (?:workspace )?api usage limits"
    r"|billing hard limit has been reached"
    r"|budget exceeded)\b",
    re.IGNORECASE,
)
_SAYS_BARRED: Final = re.compile(
    r"(?:(?:this|your) organization has been disabled"
    r"|this credential is only authorized for use with"
    r"|user location is not supported"
    r"|trial accounts are not allowed"
    rf"|project {_NAME} is not allowed to use publisher model)\b",
    re.IGNORECASE,
)
_SAYS_BAD_KEY: Final = re.compile(r"api key (?:not valid|expired)\b", re.IGNORECASE)
_SAYS_NO_MODEL: Final = re.compile(
    r"(?:unknown model"
    r"|invalid model id"
    rf"|(?:the )?(?:requested )?model {_NAME} (?:does not exist|has been deprecated|is unavailable|is not available)"
    rf"|(?:the )?publisher model {_NAME} (?:was not found|not found|is not servable)"
    r"|the api deployment for this resource does not exist"
    rf"|model {_NAME} is enabled only for api versions"
    r"|unsupported api version"
    rf"|(?:the )?api[ -]version (?:{_NAME} )?(?:is )?(?:not supported|invalid))\b",
    re.IGNORECASE,
)
_SAYS_REFUSED: Final = re.compile(
    r"(?:output blocked by content filtering policy"
    r"|invalid prompt: your prompt was flagged"
    r"|the response was filtered due to the prompt triggering"
    r"|the (?:prompt|response) was blocked)\b",
    re.IGNORECASE,
)
_MESSAGES: Final = (
    (_SAYS_REFUSED, _REFUSED),
    (_SAYS_NO_MONEY, _NO_MONEY),
    (_SAYS_BARRED, _BARRED),
    (_SAYS_BAD_KEY, _BAD_KEY),
    (_SAYS_NO_MODEL, _NO_MODEL),
)


def verdict_on(said: Said) -> Verdict:
    """Return what *said* means: its words where they are known, else its status."""
    by_code = next((verdict for code, verdict in _CODES.items() if code in said.codes), None)
    by_message = (verdict for begins, verdict in _MESSAGES if begins.match(said.message))
    verdict = by_code or next(by_message, None) or Verdict(said.status)
    return replace(verdict, retry_after_s=said.retry_after_s)

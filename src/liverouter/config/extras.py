"""What rows may add to a request as it is sent: headers and members of the body; no credentials, nothing of ours. Pure.

A row could else send a key past the check of where it may go, or ask another model than the views show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.kinds import kind_of
from liverouter.config.plain_secrets import plain_secrets
from liverouter.config.values import Values, clip
from liverouter.secrecy.keys import looks_like_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOST_HEADERS: Final = 20
_MOST_NODES: Final = 500  # values in one `extra_body`
_DEEPEST: Final = 20
_LARGEST: Final = 2**63 - 1
_LONGEST_TEXT: Final = 8_000  # characters of all texts and names in one `extra_body`, or of all headers
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_TEXT: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SCHEME: Final = re.compile(r"(?:apikey|aws4-hmac-sha256|basic|bearer|digest|negotiate|token)\s", re.IGNORECASE)
_WORD: Final = re.compile(r"[a-z0-9]+")
_OF_CREDENTIALS: Final = frozenset(  # words in the name of what is a credential
    (
        *("apikey", "auth", "authentication", "authorization", "bearer", "cookie", "cookie2", "credential"),
        *("credentials", "jwt", "key", "passphrase", "passwd", "password", "secret", "signature", "token"),
    )
)
OF_HTTP: Final = frozenset(  # which the client sets, and by which a request could go elsewhere
    (
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect"),
        *("forwarded", "host", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "via", "x-forwarded-host"),
    )
)
OF_OURS: Final = frozenset(  # members of a body, or what a library would take for its own in place of one
    (
        *(
            "messages",
            "model",
            "contents",
            "input",
            "prompt",
            "system",
            "stream",
            "stream_options",
            "tools",
            "functions",
        ),
        *("api_base", "api_version", "azure_endpoint", "base_url", "client", "custom_llm_provider", "deployment_id"),
        *("extra_body", "extra_headers", "extra_query", "fallbacks", "headers", "http_client", "max_retries"),
        *(
            "mock_response",
            "num_retries",
            "organization",
            "timeout",
            "temperature",
            "max_tokens",
            "max_completion_tokens",
        ),
    )
)
_NO_CREDENTIAL: Final = "what looks like a credential stands here"
_STORE: Final = "Keys are stored sealed, liverouter set --secret NAME, and sent by the provider's own field alone"


def read_headers(values: Values, given: Any, where: str) -> dict[str, str] | None:
    """Return the headers *given* at *where*, None after a report."""
    if not isinstance(given, Mapping):
        hint = 'Write {"x-team": "search"}'
        values.report("LR103", f"{kind_of(given)} stands where an object of texts belongs", where, hint)
        return None
    before = len(values.problems)
    if len(given) > _MOST_HEADERS or sum(len(n) + len(str(v)) for n, v in given.items()) > _LONGEST_TEXT:
        values.report("LR104", "these are too many headers, or too long ones", where, f"{_MOST_HEADERS} are taken")
        return None
    for name, text in given.items():
        place = f"{where}.{clip(name)}"
        if not _HEADER.fullmatch(name) or name.lower() in OF_HTTP:
            values.report("LR104", "no header can be set by this name", place, "Remove it")
        elif _is_of_credential(name) or (isinstance(text, str) and (_SCHEME.match(text) or looks_like_key(text))):
            values.report("LR110", _NO_CREDENTIAL, place, _STORE)
        elif not isinstance(text, str):
            values.report(
                "LR103", f"{kind_of(text)} stands where text belongs", place, 'Write text in quotes: "search"'
            )
        elif not _HEADER_TEXT.fullmatch(text):
            values.report("LR104", "the text cannot stand in a header", place, "Write plain ASCII, without line breaks")
    return None if values.errors(before) else dict(given)


def read_body(values: Values, given: Any, where: str, taken: Callable[[str], bool]) -> dict[str, Any] | None:
    """Return the members of a body *given* at *where*, None after a report.

    *taken*: tells of a name whether rows say that elsewhere.
    """
    if not isinstance(given, Mapping):
        hint = 'Write {"safe_prompt": true}'
        values.report("LR103", f"{kind_of(given)} stands where an object belongs", where, hint)
        return None
    if fault := _unsendable(given):
        values.report("LR104", fault, where, "Write a few plain members")
        return None
    before = len(values.problems)
    values.is_reported(plain_secrets("extra_body", given, where))
    for name in given:
        if name in OF_OURS or taken(name):
            hint = "Remove it: settings and parameters have a place of their own"
            values.report("LR104", f"'{clip(name)}' cannot be set here", f"{where}.{clip(name)}", hint)
    if any(_is_credential(name, node) for name, node, _ in _nodes(given)):
        values.report("LR110", _NO_CREDENTIAL, where, _STORE)
    return None if values.errors(before) else dict(given)


def _is_of_credential(name: str) -> bool:
    """Tell whether *name* says that what goes by it is a credential."""
    words = _WORD.findall(name.lower())
    return any(word in _OF_CREDENTIALS or word.endswith(("apikey", "token", "secret", "password")) for word in words)


def _is_credential(name: str, node: Any) -> bool:
    """Tell whether *node*, which goes by *name*, is a credential, or refers to one."""
    if isinstance(node, Mapping):
        return set(node) == {"secret"}
    return isinstance(node, str) and bool(node) and (_is_of_credential(name) or _SCHEME.match(node) is not None)


def _nodes(value: Any) -> Iterator[tuple[str, Any, int]]:
    """Yield name, value and depth of each node of *value*; an element goes by its list's name."""
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:  # not recursive: a row may be nested deeper than calls
        name, node, depth = waiting.pop()
        yield name, node, depth
        if isinstance(node, Mapping):
            waiting += [(str(member), inner, depth + 1) for member, inner in node.items()]
        elif isinstance(node, list):
            waiting += [(name, inner, depth + 1) for inner in node]


def _unsendable(value: Mapping[str, Any]) -> str:
    """Return why *value* is more than a request takes, or no JSON that every provider reads; else ""."""
    length = 0
    for number, (name, node, depth) in enumerate(_nodes(value)):
        length += len(name) + (len(node) if isinstance(node, str) else 0)
        if number > _MOST_NODES or depth > _DEEPEST or length > _LONGEST_TEXT:
            return "this is too large"
        if isinstance(node, int | float) and not abs(node) <= _LARGEST:  # true for NaN too
            return "a number is out of range"
        if not (is_sendable(name) and (not isinstance(node, str) or is_sendable(node))):
            return "a text holds what cannot be sent"
    return ""


def is_sendable(text: str) -> bool:
    """Tell whether *text* can stand in a request and in a report: UTF-8 without NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text

"""An error as it may leave: its class, its text and what it came from, and nothing that holds a key.

The frames of a library that sent a key have it among their locals, and so have the requests that its errors carry:
`rich`, structlog's exception dicts and error trackers show both. `bare` takes them off an error and off everything it
came from; what is raised then has the frames of whoever raises it and of the callers, and its causes keep their text.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar

from liverouter.errors import LiveRouterError
from liverouter.secrecy.redaction import MAX_TEXT, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")

_MAX_ITEMS: Final = 100  # of one mapping or sequence
_MAX_DEPTH: Final = 6  # levels of mappings and sequences in each other
_MAX_NAME: Final = 200  # characters of a member's name
_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made in Python, so that `__class__` of an instance can be assigned
_LINKS: Final = ("__cause__", "__context__")
_OF_BODY: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_PRIVATE: Final = re.compile(
    r"(authorization|cookie|api[-_]?key|subscription-key|token|secret|password|credentials?)\Z", re.IGNORECASE
)
_PAIR: Final = 2
_set: Final = BaseException.__setattr__  # an error's own may refuse: a frozen dataclass's does


def bare(exc: E, secrets: Iterable[str] = ()) -> E:
    """Return *exc* itself, bare of frames, requests and *secrets*; all that it came from is changed in the same way."""
    secrets = tuple(secrets)
    for link in chain(exc):
        _strip(link, secrets)
    return exc


def raise_anew(error: Exception) -> NoReturn:
    """Raise *error*. Call it outside of any ``except``: what is handled there would become the error's context."""
    try:
        raise error
    finally:
        del error  # a cycle otherwise: its traceback holds this frame


def leaves_bare(function: Callable[P, T]) -> Callable[P, T]:
    """Return *function*, of which each LiveRouterError leaves without frames, whose arguments are keys or DSNs."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except LiveRouterError as exc:
            error = bare(exc)
        del args, kwargs
        return raise_anew(error)

    return call


def chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield *exc* and every error that it came from or carries, each once."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [exc]
    while pending:
        link = pending.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        pending += [link.__cause__, link.__context__]
        pending += [value for value in getattr(link, "__dict__", {}).values() if isinstance(value, BaseException)]
        pending += link.exceptions if isinstance(link, BaseExceptionGroup) else ()


def _strip(link: BaseException, secrets: tuple[str, ...]) -> None:
    """Take frames, requests and *secrets* off *link*, in place, and leave its class and its text.

    Its cause, its context and the errors among its attributes are links of `chain` and are stripped in their own turn.
    One that cannot be stripped gives its place to an error of that name with its text. Where the text of *link* was
    made of what is gone, its class becomes a subclass that says the former text.
    """
    _set(link, "__traceback__", None)
    text = _text(link, secrets)
    for name in _LINKS:
        other = getattr(link, name)
        if other is not None and _keeps_its_text(other, secrets):
            suppress = link.__suppress_context__
            _set(link, name, _of_text(other, secrets))
            _set(link, "__suppress_context__", suppress)
    _set(link, "args", tuple(_shown("", arg, secrets) for arg in link.args))
    if isinstance(link, UnicodeError):
        with contextlib.suppress(AttributeError, TypeError):
            link.object = type(link.object)()  # type: ignore[attr-defined]  # what could not be read
    if isinstance(link, AttributeError):
        link.obj = None  # what had none of that name
    fields = getattr(link, "__dict__", {})
    if isinstance(link, LiveRouterError):
        fields = {name: fields[name] for name in ("message", "__notes__") if name in fields}
    for name, value in list(fields.items()):
        if not isinstance(value, BaseException):
            link.__dict__[name] = _shown(name, value, secrets)
        elif _keeps_its_text(value, secrets):
            link.__dict__[name] = _of_text(value, secrets)
    if _text(link, secrets) != text and hasattr(link, "__dict__"):
        with contextlib.suppress(TypeError):  # of a class that is not made in Python
            _set(link, "__class__", _class_saying_text(_kind(link)))
            _set(link, "_liverouter_text", text)


def _keeps_its_text(link: BaseException, secrets: tuple[str, ...]) -> bool:
    """Tell whether *link* is of a class that cannot be stripped or told to say less: not made in Python."""
    if not hasattr(link, "__dict__"):
        return True
    mutable = _kind(link).__flags__ & _HEAP_TYPE or _kind(link).__str__ is BaseException.__str__  # which reads args
    return not mutable and _text(link, secrets) != _own_text(link)


def _own_text(link: BaseException) -> str:
    """Return the text of *link* as its class makes it, "" where that fails."""
    try:
        return str(link)
    except Exception:  # noqa: BLE001 - it was made of what is gone
        return ""


def _text(link: BaseException, secrets: tuple[str, ...]) -> str:
    """Return the text of *link* without *secrets* and what looks like one."""
    return clean(_own_text(link), secrets)


def _of_text(link: BaseException, secrets: tuple[str, ...]) -> Exception:
    """Return an error with the class name and the text of *link*, and nothing else of it."""
    return _text_class(_kind(link))(_text(link, secrets))


def _shown(name: str, value: Any, secrets: tuple[str, ...]) -> Any:
    """Return *value*, an error's attribute or argument, without a key; None where it cannot be read."""
    try:
        return _without_key(name, value, secrets)
    except Exception:  # noqa: BLE001 - a library's own object, which may raise anything; kept, it would show its keys
        return None


def _without_key(name: str, value: Any, secrets: tuple[str, ...]) -> Any:
    """Return *value* as plain data without a key; of a request or a response what can be shown."""
    if hasattr(value, "status_code") and hasattr(value, "headers"):
        return _response(value, secrets)
    if hasattr(value, "url") and hasattr(value, "method"):
        return _request(value)
    if name == "__notes__":
        return [clean(str(note), secrets) for note in value]
    return _plain(value, secrets)


def _request(request: Any) -> Any:
    """Return an HTTP request that says where it went, and no more; None where its library makes none."""
    with contextlib.suppress(Exception):
        return type(request)(request.method, str(request.url).partition("?")[0][:MAX_TEXT])
    return None


def _response(response: Any, secrets: tuple[str, ...]) -> Any:
    """Return an HTTP response with its status, its headers and the beginning of its body."""
    plain = _plain(response.headers, secrets)
    kept = plain.items() if isinstance(plain, dict) else ()
    headers = {name: value for name, value in kept if name.lower() not in _OF_BODY}
    body, request = "", None
    with contextlib.suppress(Exception):  # it was never read, or not to its end
        body = clean(response.text, secrets)
    with contextlib.suppress(Exception):  # it has none
        request = _request(response.request)
    with contextlib.suppress(Exception):
        return type(response)(int(response.status_code), headers=headers, text=body, request=request)
    return None


class _Budget:
    """The characters that one attribute may still keep."""

    def __init__(self) -> None:
        self.left = MAX_TEXT

    def take(self, text: str) -> str:
        """Return *text*, or as much of it as is left, and count it."""
        text = text if len(text) <= self.left else text[: max(0, self.left - 1)] + "…" if self.left else ""
        self.left -= len(text)
        return text


def _plain(value: Any, secrets: tuple[str, ...], budget: _Budget | None = None, depth: int = 0) -> Any:
    """Return *value* as plain data within bounds, without members and pairs whose name is that of a credential.

    Of an error only class name and text are kept. What is no data, such as a client or a configuration, is None.
    """
    budget = budget or _Budget()
    plain: Any = None
    if isinstance(value, bool | int | float):
        plain = value
    elif isinstance(value, BaseException):
        plain = _of_text(value, secrets)
    elif isinstance(value, str):
        plain = budget.take(clean(value, secrets))
    elif isinstance(value, bytes):
        plain = b""
    elif depth < _MAX_DEPTH and budget.left > 0:
        if isinstance(value, Mapping):
            pairs = ((_name(name), item) for name, item in list(value.items())[:_MAX_ITEMS])
            plain = {
                clean(name, secrets, _MAX_NAME): _plain(item, secrets, budget, depth + 1)
                for name, item in pairs
                if not _PRIVATE.search(name)
            }
        elif isinstance(value, list | tuple | set | frozenset):
            shown = [item for item in list(value)[:_MAX_ITEMS] if not _is_private_pair(item)]
            items = [_plain(item, secrets, budget, depth + 1) for item in shown]
            plain = tuple(items) if isinstance(value, tuple) else items
    return plain


def _name(name: Any) -> str:
    """Return a member's name as text; HTTP libraries have those of headers in bytes."""
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)


def _is_private_pair(item: Any) -> bool:
    """Tell whether *item* is a credential and its name: a header where headers are a list of pairs."""
    if not isinstance(item, list | tuple) or len(item) != _PAIR or not isinstance(item[0], str | bytes):
        return False
    return _PRIVATE.search(_name(item[0])) is not None


def _kind(exc: BaseException) -> Any:
    """Return the class of *exc* as Any: some of what is asked of it has no type."""
    return type(exc)


@functools.cache
def _text_class(kind: Any) -> type[Exception]:
    """Return a class with the name and the module of *kind*, for an error of which only the text is kept."""
    return type(kind.__name__, (Exception,), {"__module__": kind.__module__})


@functools.cache
def _class_saying_text(kind: Any) -> type[BaseException]:
    """Return a subclass of *kind*, under its name, whose instances say their `_liverouter_text`."""
    members = {"__module__": kind.__module__, "__str__": lambda self: self._liverouter_text}
    return type(kind.__name__, (kind,), members)

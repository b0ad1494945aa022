"""Process options: how *this process* connects and behaves. From constructor arguments, else the environment.

*Settings* are the rows in the database; *options* are these.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from liverouter.dsn import ESCAPED, LAST_PORT, Dsn, is_misread
from liverouter.errors import OptionsError
from liverouter.origins import origin_of

_REDIS_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_BETWEEN: Final = re.compile(r"[,\s]+")
_LABEL: Final = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a client needs to know about its process."""

    database_url: str = field(repr=False)  # postgresql://user:password@host:port/name
    listen_url: str = field(default="", repr=False)  # direct DSN for LISTEN; "" = database_url
    secret_keys: str = field(default="", repr=False)  # keyring text, newest first
    app: str = ""  # shown in SQL; default: the program's name
    labels: Mapping[str, str] = field(default_factory=dict)  # free labels, shown in SQL
    snapshot_file: Path | None = None  # sealed last-known-good
    api_bases: tuple[str, ...] = ()  # base URLs that rows may have the environment's keys sent to
    redis_url: str = field(default="", repr=False)  # shared cooldowns
    ready_timeout_s: float = 30.0  # get_chat_model() waits this long for the first generation
    poll_interval_s: float = 30.0  # safety poll; 2 s while notifications do not arrive
    probe_interval_s: float = 10.0  # liveness query on the listening connection
    heartbeat_interval_s: float = 10.0  # report to the database
    gc_freeze: bool = True  # gc.freeze() once, with the first generation: no 230 ms pauses

    @property
    def dsn(self) -> Dsn:
        """Return the database."""
        return Dsn.parse(self.database_url)

    @property
    def listen_dsn(self) -> Dsn:
        """Return the database as it is reached for LISTEN."""
        return Dsn.parse(self.listen_url, "LIVEROUTER_LISTEN_URL") if self.listen_url else self.dsn

    @property
    def database_name(self) -> str:
        """Return ``host:port/name`` of the database, without user and password."""
        return self.dsn.without_password


_VARIABLES: Final = {
    "listen_url": "LIVEROUTER_LISTEN_URL",
    "secret_keys": "LIVEROUTER_SECRET_KEYS",
    "app": "LIVEROUTER_APP",
    "labels": "LIVEROUTER_LABELS",
    "snapshot_file": "LIVEROUTER_SNAPSHOT_FILE",
    "api_bases": "LIVEROUTER_API_BASES",
    "redis_url": "LIVEROUTER_REDIS_URL",
    "ready_timeout_s": "LIVEROUTER_READY_TIMEOUT_S",
    "poll_interval_s": "LIVEROUTER_POLL_INTERVAL_S",
    "probe_interval_s": "LIVEROUTER_PROBE_INTERVAL_S",
    "heartbeat_interval_s": "LIVEROUTER_HEARTBEAT_INTERVAL_S",
    "gc_freeze": "LIVEROUTER_GC_FREEZE",
}
_BOUNDS: Final = {
    "ready_timeout_s": (0.0, 3600.0),
    "poll_interval_s": (0.05, 3600.0),
    "probe_interval_s": (0.05, 3600.0),
    "heartbeat_interval_s": (0.05, 30.0),  # a process counts as offline 35 s after its last heartbeat
}


def load(environ: Mapping[str, str] | None = None, **arguments: Any) -> Options:
    """Return the options: each argument that is not None wins over its environment variable.

    Raises:
        OptionsError: no database is named, or a value cannot be used.
    """
    environ = os.environ if environ is None else environ
    unknown = set(arguments) - {"database_url", *_VARIABLES}
    if unknown:
        raise OptionsError(
            f"unknown option '{min(unknown)}'",
            where="LiveRouter()",
            hint=f"Known: database_url, {', '.join(_VARIABLES)}",
        )
    given = {name: value for name, value in arguments.items() if value is not None}
    for name, variable in _VARIABLES.items():
        if name not in given and (text := environ.get(variable, "").strip()):
            given[name] = text
    if "secret_keys" not in given and (path := environ.get("LIVEROUTER_SECRET_KEYS_FILE", "").strip()):
        given["secret_keys"] = _read_file(path, "LIVEROUTER_SECRET_KEYS_FILE")
    url = given.pop("database_url", "") or environ.get("LIVEROUTER_DATABASE_URL") or environ.get("DATABASE_URL") or ""
    clean: dict[str, Any] = {"database_url": Dsn.parse(str(url)).text}
    for name, value in given.items():
        clean[name] = _clean(name, value)
    clean["app"] = clean.get("app") or _program()
    return Options(**clean)


def _program() -> str:
    """Return the name of what runs: the script, or the package of ``python -m package``."""
    path = Path(sys.argv[0] if sys.argv else "")
    return (path.parent.name if path.stem == "__main__" else path.stem) or "python"


def _redis_url(url: str, where: str) -> str:
    """Return *url*.

    Raises:
        OptionsError: it is no Redis URL; the message never repeats the password.
    """
    if not url.startswith(_REDIS_SCHEMES):
        raise OptionsError("the value is not a Redis URL", where=where, hint="Write redis://host:6379/0")
    if _is_redis_split_wrong(url):
        raise OptionsError(
            "the Redis URL cannot be read",
            where=where,
            hint=f"Write redis://user:password@host:6379/0, the port from 1 to {LAST_PORT}, and {ESCAPED}",
        )
    return url


def _is_redis_split_wrong(url: str) -> bool:
    """Tell the same of a Redis URL, of which a password is in no option unless it is escaped."""
    if url.startswith("unix:///"):
        return "#" in url
    if is_misread(url):
        return True
    parts = urlsplit(url)
    return "," in parts.netloc.rpartition("@")[2] or ("@" in parts.query and "@" not in parts.netloc)


def _clean(name: str, value: Any) -> Any:
    where = _VARIABLES[name]
    if name in _BOUNDS:
        return _seconds(name, value, where)
    match name:
        case "listen_url" | "redis_url":
            return Dsn.parse(str(value), where).text if name == "listen_url" else _redis_url(str(value), where)
        case "labels":
            return _labels(value, where)
        case "api_bases":
            return _api_bases(value, where)
        case "snapshot_file":
            return Path(value).expanduser()
        case _:
            return _boolean(str(value), where) if name == "gc_freeze" else str(value)


def _boolean(text: str, where: str) -> bool:
    if text.lower() not in ("1", "0", "true", "false", "yes", "no", "on", "off"):
        raise OptionsError("the value is not true or false", where=where)
    return text.lower() in ("1", "true", "yes", "on")


def _seconds(name: str, value: Any, where: str) -> float:
    low, high = _BOUNDS[name]
    try:
        seconds = float(value)
    except (TypeError, ValueError) as exc:
        raise OptionsError("the value is not a number of seconds", where=where, hint="Write a number: 30") from exc
    if not low <= seconds <= high:
        raise OptionsError(f"{seconds:g} s is out of range", where=where, hint=f"Choose {low:g} to {high:g} seconds")
    return seconds


def _labels(value: Any, where: str) -> Mapping[str, str]:
    pairs = (
        value.items()
        if isinstance(value, Mapping)
        else (p.partition("=")[::2] for p in str(value).split(",") if p.strip())
    )
    labels = {str(k).strip(): str(v).strip() for k, v in pairs}
    if any(not _LABEL.match(k) for k in labels):
        raise OptionsError(
            "a label's name is not plain", where=where, hint="Write LIVEROUTER_LABELS=region=eu,tier=web"
        )
    return labels


def _api_bases(value: Any, where: str) -> tuple[str, ...]:
    words = _BETWEEN.split(value.strip()) if isinstance(value, str) else [str(word) for word in value]
    origins = [origin_of(word) for word in words if word]
    if not all(origins):
        raise OptionsError(
            "one of the base URLs cannot be read",
            where=where,
            hint="Write URLs with commas between: https://gateway.internal,http://10.0.0.7:8000",
        )
    return tuple(dict.fromkeys(origins))


def _read_file(path: str, where: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise OptionsError(
            f"{path} cannot be read: {type(exc).__name__}", where=where, hint="Name a text file this user may read"
        ) from exc


def hostname() -> str:
    """Return this machine's name, for people."""
    return socket.gethostname()


@dataclass(frozen=True, slots=True)
class EnvironmentValue:
    """A setting that the environment gives, directly or by a file named in ``<NAME>_FILE``."""

    text: str = field(repr=False)
    source: str  # "environment OPENAI_API_KEY", "file /run/secrets/openai"
    error: str = ""  # why it gives no value: the file cannot be read, or is empty


class Environment:
    """What the environment offers for rows and secrets, read afresh by each new instance.

    A row never chooses which variable is read: settings and providers' secrets have their own names, any other secret
    ``LIVEROUTER_SECRET_<NAME>``. It remembers what it was asked, so that a later one can tell whether that changed.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, api_bases: tuple[str, ...] | None = None) -> None:
        """Read from *environ*, by default the process's own; *api_bases* wins over its LIVEROUTER_API_BASES."""
        self._environ = os.environ if environ is None else environ
        self._asked: dict[str, EnvironmentValue | None] = {}
        self.api_bases = api_bases if api_bases is not None else _known_bases(self._environ)

    def get(self, name: str) -> EnvironmentValue | None:
        """Return the value of the setting or the provider's secret *name*; reads ``<NAME>_FILE`` where that is set.

        The caller asks for names of the table of settings and for no others.
        """
        return self._value(name.upper())

    def referenced(self, name: str) -> EnvironmentValue | None:
        """Return the secret that a row calls *name*, None where there is none."""
        return self._value(variable) if (variable := reference_variable(name)) else None

    def differs(self, former: Environment) -> bool:
        """Tell whether anything *former* was asked for is different now."""
        return self.api_bases != former.api_bases or any(
            self._value(variable) != value for variable, value in former._asked.items()
        )

    def _value(self, variable: str) -> EnvironmentValue | None:
        if variable not in self._asked:
            self._asked[variable] = self._read(variable)
        return self._asked[variable]

    def _read(self, variable: str) -> EnvironmentValue | None:
        if text := self._environ.get(variable, "").strip():
            return _utf8(EnvironmentValue(text, f"environment {variable}"))
        if not (path := self._environ.get(f"{variable}_FILE", "").strip()):
            return None
        shown = path.encode(errors="backslashreplace").decode()[:200]
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as exc:  # ValueError: what is in it, or the path itself, is no UTF-8
            return EnvironmentValue("", f"file {shown}", f"{shown} cannot be read ({type(exc).__name__})")
        # empty: whoever replaces a secret truncates the file first
        return EnvironmentValue(text, f"file {shown}", "" if text else f"{shown} is empty")


_NOT_IN_A_VARIABLE: Final = re.compile(r"[^A-Z0-9_]")


def reference_variable(name: str) -> str:
    """Return the environment variable that holds the secret which a row calls *name*; "" for a name that has none.

    LIVEROUTER_SECRET_KEYS is the keyring, and what ends in _FILE holds a path.
    """
    variable = "LIVEROUTER_SECRET_" + _NOT_IN_A_VARIABLE.sub("_", name.upper())
    return "" if variable == "LIVEROUTER_SECRET_KEYS" or variable.endswith("_FILE") else variable


def _known_bases(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the origins of LIVEROUTER_API_BASES; none where it cannot be read, which `load` refuses."""
    try:
        return _api_bases(environ.get("LIVEROUTER_API_BASES", ""), "LIVEROUTER_API_BASES")
    except OptionsError:
        return ()


def _utf8(value: EnvironmentValue) -> EnvironmentValue:
    """Return *value*, or its error where it holds bytes that no database and no provider takes."""
    try:
        value.text.encode()
    except UnicodeEncodeError:
        return EnvironmentValue("", value.source, f"{value.source} is not UTF-8")
    return value

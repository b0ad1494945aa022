"""Process options: how *this process* connects and behaves. From constructor arguments, else the environment.

*Settings* are the rows in the database; *options* are these. Both are read by the same code.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast
from urllib.parse import urlsplit

from liverouter.config.environment import read_api_bases
from liverouter.config.kinds import Setting, SettingValueError, misfit, parse
from liverouter.errors import OptionsError
from liverouter.postgres.asked_url import AskedUrl, UrlFile, as_database
from liverouter.postgres.dsn import ESCAPED, LAST_PORT, Dsn, is_misread
from liverouter.secrecy.sealing import Keyring

_REDIS_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_DATABASE: Final = ("LIVEROUTER_DATABASE_URL", "LIVEROUTER_DATABASE_URL_FILE", "DATABASE_URL")  # the first one serves
_LABEL: Final = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")


def _dsn(value: Any, where: str) -> str:
    return Dsn.parse(str(value), where).text


def _database_url(given: Any, environ: Mapping[str, str]) -> str | AskedUrl:
    """Return the URL of the database, or what is asked for it: an argument, else the environment's.

    Raises:
        OptionsError: none is named, it cannot be read, or the file that holds it cannot.
    """
    if callable(given):
        return cast("AskedUrl", as_database(given))
    if given:
        return _dsn(given, "LIVEROUTER_DATABASE_URL")
    for variable in _DATABASE:
        value = environ.get(variable, "").strip()
        if value and variable.endswith("_FILE"):
            file = UrlFile(Path(value), variable)
            Dsn.parse(file(), variable)
            return cast("AskedUrl", as_database(file))
        if value:
            return _dsn(value, variable)
    return _dsn("", _DATABASE[0])


def names_database(environ: Mapping[str, str]) -> bool:
    """Tell whether *environ* says where the database is."""
    return any(environ.get(variable, "").strip() for variable in _DATABASE)


def _redis_url(value: Any, where: str) -> str:
    """Return the Redis URL *value*; an error never repeats the password."""
    url = str(value)
    if not url.startswith(_REDIS_SCHEMES):
        raise OptionsError("the value is not a Redis URL", where=where, hint="Write redis://host:6379/0")
    if _is_redis_misread(url):
        raise OptionsError(
            "the Redis URL cannot be read",
            where=where,
            hint=f"Write redis://user:password@host:6379/0, the port from 1 to {LAST_PORT}, and {ESCAPED}",
        )
    return url


def _is_redis_misread(url: str) -> bool:
    """Tell whether a password's unescaped character has a part of the Redis URL *url* taken for another.

    Beside what `is_misread` finds: a Redis URL names one host, and no ``@`` stands in its parameters alone.
    """
    if url.startswith("unix:///"):
        return "#" in url
    if is_misread(url):
        return True
    parts = urlsplit(url)
    return "," in parts.netloc.rpartition("@")[2] or ("@" in parts.query and "@" not in parts.netloc)


def _labels(value: Any, where: str) -> Mapping[str, str]:
    """Return labels given as a mapping, or as ``region=eu,tier=web``."""
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


def _path(value: Any, where: str) -> Path:
    """Return the path *value*, which may start with ``~`` or ``~user``."""
    try:
        path = Path(value).expanduser()
    except (RuntimeError, TypeError) as exc:  # RuntimeError: there is no such user behind ~
        raise OptionsError("the value is not a path", where=where, hint="Write the path of a file") from exc
    if "\0" in str(path):
        raise OptionsError("no path holds a NUL", where=where, hint="Write the path of a file")
    return path


def _text(value: Any, _where: str) -> str:
    return str(value)


@dataclass(frozen=True, slots=True)
class Option(Setting):
    """One process option: a constructor argument, and a variable of the environment.

    Attributes:
        zero_is_off: 0 is taken as well, whatever the lowest number is.
        read: returns the value for what was given and the variable's name, or raises an OptionsError; None where the
            kind says how a value is read, as with a setting.
    """

    zero_is_off: bool = False
    read: Callable[[Any, str], Any] | None = None

    @property
    def variable(self) -> str:
        """Return the environment variable that serves where no argument is given."""
        return f"LIVEROUTER_{self.name.upper()}"

    def value(self, given: Any) -> Any:
        """Return the option's value for *given*, an argument or the variable's text; nothing at all is the default.

        Raises:
            OptionsError: it cannot be used.
        """
        if given == "":
            return self.default
        if self.read is not None:
            return self.read(given, self.variable)
        try:
            value = parse(self, str(given))
        except SettingValueError as exc:
            raise OptionsError(exc.message, where=self.variable, hint=exc.hint) from exc
        if value is None:
            return self.default
        if self.zero_is_off and value == 0:
            return 0.0
        if fault := misfit(self, value):
            _, message, hint = fault
            raise OptionsError(message, where=self.variable, hint=hint)
        return float(value) if self.kind == "number" else value


_TABLE = (
    Option("database_url", "text", "postgresql://user:password@host:port/name, or a function that returns it"),
    Option("listen_url", "text", 'direct DSN for LISTEN; "" = database_url', "", read=_dsn),
    Option("secret_keys", "secret", "keyring text, newest first", ""),
    Option("app", "text", "shown in SQL; default: the program's name", "", read=_text),
    Option("labels", "text", "free labels, shown in SQL", MappingProxyType({}), read=_labels),
    Option("snapshot_file", "text", "sealed last-known-good", read=_path),
    Option("api_bases", "text", "base URLs that rows may have the environment's keys sent to", (), read=read_api_bases),
    Option("redis_url", "text", "shared cooldowns", "", read=_redis_url),
    Option("wake_url", "text", "Redis that passes wake-ups on; no connection is held then", "", read=_redis_url),
    Option("ready_timeout_s", "number", "get_chat_model() waits this long for database and settings", 30.0, 0, 3600),
    Option("poll_interval_s", "number", "safety poll; 2 s while notifications do not arrive", 30.0, 0.05, 3600),
    Option("probe_interval_s", "number", "liveness query on the listening connection", 10.0, 0.05, 3600),
    # a process counts as offline 35 s after its last heartbeat
    Option(
        "heartbeat_interval_s",
        "number",
        "report to the database; 0 for one that sleeps",
        10.0,
        0.05,
        30,
        zero_is_off=True,
    ),
    Option("gc_freeze", "boolean", "gc.freeze() once, with the first generation: no 230 ms pauses", default=True),
)
OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({option.name: option for option in _TABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a client needs to know about its process; `OPTIONS` says what each field means."""

    database_url: str | AskedUrl = field(repr=False)
    listen_url: str = field(repr=False)
    secret_keys: str = field(repr=False)
    app: str
    labels: Mapping[str, str]
    snapshot_file: Path | None
    api_bases: tuple[str, ...]
    redis_url: str = field(repr=False)
    wake_url: str = field(repr=False)
    ready_timeout_s: float
    poll_interval_s: float
    probe_interval_s: float
    heartbeat_interval_s: float
    gc_freeze: bool

    @property
    def dsn(self) -> Dsn | AskedUrl:
        """Return the database, or what is asked for its URL at each connect."""
        return as_database(self.database_url)

    @property
    def listen_dsn(self) -> Dsn | AskedUrl:
        """Return the database as it is reached for LISTEN."""
        return Dsn.parse(self.listen_url, "LIVEROUTER_LISTEN_URL") if self.listen_url else self.dsn

    @property
    def database_name(self) -> str:
        """Return ``host:port/name`` of the database, without user and password; empty while that is not known."""
        return self.dsn.without_password

    @property
    def keyring(self) -> Keyring | None:
        """Return the keys that seal and open secrets, None where there are none.

        Raises:
            SecretError: one of them cannot be read.
        """
        return Keyring.from_text(self.secret_keys) if self.secret_keys.strip() else None


def wake_url(environ: Mapping[str, str]) -> str:
    """Return the Redis through which *environ* has wake-ups passed on; empty where it names none.

    Raises:
        OptionsError: it is no Redis URL.
    """
    option = OPTIONS["wake_url"]
    return str(option.value(environ.get(option.variable, "").strip()))


def load(environ: Mapping[str, str] | None = None, **arguments: Any) -> Options:
    """Return the options: each argument that is not None wins over its environment variable.

    Raises:
        OptionsError: no database is named, or a value cannot be used.
    """
    environ = os.environ if environ is None else environ
    if unknown := set(arguments) - set(OPTIONS):
        raise OptionsError(
            f"unknown option '{min(unknown)}'", where="LiveRouter()", hint=f"Known: {', '.join(OPTIONS)}"
        )
    given = {name: arguments.get(name) for name in OPTIONS}
    for option in OPTIONS.values():
        if given[option.name] is None:
            given[option.name] = environ.get(option.variable, "").strip()
    if arguments.get("secret_keys") is None and not given["secret_keys"]:
        given["secret_keys"] = _read_named_file(environ, "LIVEROUTER_SECRET_KEYS_FILE")
    url = _database_url(arguments.get("database_url"), environ)
    values = {name: OPTIONS[name].value(value) for name, value in given.items() if name != "database_url"}
    return Options(database_url=url, **values | {"app": values["app"] or _program()})


def _read_named_file(environ: Mapping[str, str], variable: str) -> str:
    """Return the text of the file that *variable* names, stripped; empty where it names none."""
    if not (path := environ.get(variable, "").strip()):
        return ""
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise OptionsError(
            f"{path} cannot be read: {type(exc).__name__}", where=variable, hint="Name a text file this user may read"
        ) from exc


def _program() -> str:
    """Return the name of what runs: the script, or the package of ``python -m package``."""
    path = Path(sys.argv[0] if sys.argv else "")
    return (path.parent.name if path.stem == "__main__" else path.stem) or "python"


def hostname() -> str:
    """Return this machine's name, for people."""
    return socket.gethostname()

"""The URL of a PostgreSQL database, read in this one place; what its parameters mean to a connection is decided here.

Errors name the option that holds the URL and never repeat a piece of it, which is often a piece of the password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import parse_qsl, quote, urlsplit

from liverouter.errors import OptionsError
from liverouter.postgres.dsn_options import OURS, read_options

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SYSTEM_ROOTS: Final = "system"  # as sslrootcert: the certificates that this machine trusts
LAST_PORT: Final = 65_535
ESCAPED: Final = "in the password %2F for /, %3F for ?, %23 for #, %5B for [, %40 for @, %25 for %"
_SCHEME: Final = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9_]+)?", re.IGNORECASE)  # SQLAlchemy names a driver after +
_HOST: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?")  # a name or [IPv6 address], and its port


@dataclass(frozen=True, slots=True)
class Dsn:
    """A database: where it is, and how to log in to it. `parse` makes one.

    Attributes:
        text: the whole URL, ``postgresql://user:password@host:port/name?parameter=value``.
        without_password: ``host:port/name``, for people; several hosts with commas between.
        options: what the URL and its service say beside that, by libpq's names; of these asyncpg takes the most.
        ignored: the names of options that have no meaning here: other drivers' and vendors' own.
        _login: ``user:password@`` as written, but a further @ as %40; or empty.
        _hosts: in the order they are named.
        _path: ``/name`` as written, or empty.
    """

    text: str = field(repr=False)
    without_password: str
    options: Mapping[str, str] = field(repr=False)
    ignored: tuple[str, ...] = field(repr=False)
    _login: str = field(repr=False)
    _hosts: tuple[_Host, ...] = field(repr=False)
    _path: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, where: str = "LIVEROUTER_DATABASE_URL") -> Self:
        """Return the database that *text* names; *where* is the option that holds it.

        Raises:
            OptionsError: it is empty or no PostgreSQL URL, one of its pieces cannot be what it stands for, or an option
                is not known.
        """
        text = text.strip()
        if not text:
            raise OptionsError(
                "no database is named",
                where=where,
                hint="Set LIVEROUTER_DATABASE_URL=postgresql://user:password@host:5432/name (or DATABASE_URL), "
                "or pass database_url= (--database-url on the command line)",
            )
        scheme, separator, rest = text.partition("://")
        if not separator or not _SCHEME.fullmatch(scheme):
            raise _no_url(scheme if separator else "", where)
        if is_misread(text):
            raise _unreadable(where)
        parts = urlsplit(text)
        login, at, written = parts.netloc.rpartition("@")
        try:
            options, ignored = read_options(parse_qsl(parts.query, keep_blank_values=True), where)
        except OptionsError:
            if "@" in parts.query and "@" not in parts.netloc:  # the password has a ? and what follows is a piece of it
                raise _unreadable(where) from None
            raise
        host, port = options.pop("host", ""), options.pop("port", "")
        if written and "hostaddr=" in parts.query.lower():  # TLS verifies the host's name, by which asyncpg connects
            ignored = (*ignored, "hostaddr")
        if not written and host and len(port.split(",")) not in (1, len(host.split(","))):
            raise OptionsError(
                "the PostgreSQL URL's parameters host and port do not pair up",
                where=where,
                hint="Name one port for all hosts, or one for each",
            )
        path = "" if parts.path == "/" else parts.path
        name = path or "".join(f"/{options[key]}" for key in ("dbname", "database") if key in options)
        return cls(
            text=f"postgresql://{rest}",
            without_password=f"{written or host or 'localhost'}{name}",
            options=MappingProxyType(options),
            ignored=ignored,
            _login=login.replace("@", "%40") + at,  # asyncpg ends a login at its first @
            _hosts=_written(written) if written else _named(host, port),
            _path=path,
        )

    def per_host(self, *, without: Collection[str] = ()) -> tuple[str, ...]:
        """Return one URL per host, in the order they are named, with the options that asyncpg takes, but *without*."""
        left_out = OURS | set(without)
        of_system = ("sslrootcert", SYSTEM_ROOTS)
        kept = [pair for pair in self.options.items() if pair[0] not in left_out and pair != of_system]
        urls = []
        for host in self._hosts:
            query = "&".join(f"{quote(name)}={quote(value)}" for name, value in (*kept, *host.parameters))
            urls.append(f"postgresql://{self._login}{host.written}{self._path}{'?' if query else ''}{query}")
        return tuple(urls)

    def number(self, option: str) -> int | None:
        """Return what the URL gives for *option*, a whole number; None where it gives nothing."""
        return int(self.options[option]) if option in self.options else None

    @property
    def connect_timeout_s(self) -> float:
        """Return the seconds that the URL gives all its hosts to connect; 0 where it does not say."""
        return float((self.number("connect_timeout") or 0) * len(self._hosts))

    async def ask(self, timeout_s: float) -> Dsn:  # noqa: ARG002 - as `AskedUrl` has it
        """Return the database itself: this URL never changes."""
        return self


@dataclass(frozen=True, slots=True)
class _Host:
    """One host: written before the path, ``host:port``, or as parameters ``host`` and ``port``."""

    written: str = ""
    parameters: tuple[tuple[str, str], ...] = ()


def _written(hosts: str) -> tuple[_Host, ...]:
    """Return the hosts that stand before the path, ``host:port,host``; one without a port has PostgreSQL's own."""
    return tuple(_Host(written=host) for host in hosts.split(",") if host)


def _named(hosts: str, ports: str) -> tuple[_Host, ...]:
    """Return the hosts that the parameters ``host`` and ``port`` name.

    Each has the port at its place in the list, or all have the only one. `Dsn.parse` has seen to it that they pair up.
    """
    names = hosts.split(",")
    numbers = ports.split(",") if len(names) > 1 and "," in ports else [ports] * len(names)
    pairs = [(("host", name), ("port", number)) for name, number in zip(names, numbers, strict=True)]
    return tuple(_Host(parameters=tuple((name, value) for name, value in pair if value)) for pair in pairs)


def _no_url(scheme: str, where: str) -> OptionsError:
    """Return the error for what is no PostgreSQL URL; *scheme* is what it has before ``://``."""
    hint = "Write postgresql://user:password@host:5432/name"
    if scheme.lower().startswith("jdbc:"):
        hint = "Write it without jdbc:, and its user and password before the host: " + hint.removeprefix("Write ")
    elif scheme[:1] in "'\"" or " " in scheme:
        hint = "Write the URL alone, without quotes or a command around it"
    return OptionsError(f"'{scheme[:20] or '…'}' is not a PostgreSQL URL", where=where, hint=hint)


def _unreadable(where: str) -> OptionsError:
    return OptionsError(
        "the PostgreSQL URL cannot be read",
        where=where,
        hint=f"Write postgresql://user:password@host:5432/name, the port from 1 to {LAST_PORT}, and {ESCAPED}",
    )


def is_misread(url: str) -> bool:
    """Tell whether a password's unescaped / ? # or [ makes one of its pieces look like host, name or parameter."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    named = dict(parse_qsl(parts.query))
    hosts = [*parts.netloc.rpartition("@")[2].split(","), *named.get("host", "").split(",")]
    ports = [port for port in named.get("port", "").split(",") if port]
    parameters = parts.query.split("&") if parts.query else []
    return (
        bool(parts.fragment)
        or "@" in parts.path
        or any("=" not in parameter for parameter in parameters)
        or not all(_is_host(host) for host in hosts)
        or not all(_is_port(port) for port in ports)
    )


def _is_host(text: str) -> bool:
    """Tell whether *text* is a folder of sockets, or a host with or without a port."""
    found = _HOST.fullmatch(text)
    return text.startswith("/") or (found is not None and (not found[1] or _is_port(found[1])))


def _is_port(text: str) -> bool:
    """Tell whether *text* is a number from 1 to 65535, zeros before it allowed; however long it is."""
    digits = text.lstrip("0")
    return digits.isascii() and digits.isdigit() and len(digits) <= len(str(LAST_PORT)) and int(digits) <= LAST_PORT

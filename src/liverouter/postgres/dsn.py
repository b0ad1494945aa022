"""The URL of a PostgreSQL database, read in this one place; what its parameters mean to a connection is decided here.

Errors name the option that holds the URL and never repeat a piece of it, which is often a piece of the password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qsl, quote, urlsplit

from liverouter.errors import OptionsError

LAST_PORT: Final = 65_535
ESCAPED: Final = "in the password %2F for /, %3F for ?, %23 for #, %5B for [, %40 for @, %25 for %"
_SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg")
# Parameters that hosting services put into their URLs. asyncpg would hand them on to the server, which refuses them.
_LIBPQ_ONLY: Final = re.compile(
    "channel_binding|connect_timeout|fallback_application_name|gssdelegation|gssencmode|hostaddr|keepalives(_count|_idle|"
    "_interval)?|load_balance_hosts|require_auth|requirepeer|ssl(certmode|compression|crldir|sni)|tcp_user_timeout"
)
_HOST: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?")  # a name or [IPv6 address], and its port


@dataclass(frozen=True, slots=True)
class Dsn:
    """A database: where it is, and how to log in to it. `parse` makes one.

    Attributes:
        text: the whole URL, ``postgresql://user:password@host:port/name?parameter=value``.
        without_password: ``host:port/name``, for people; several hosts with commas between.
        _login: ``user:password@`` as written, but a further @ as %40; or empty.
        _hosts: in the order they are named.
        _path: ``/name`` as written, or empty.
        _parameters: name and value of each, decoded, without host and port where those are parameters.
    """

    text: str = field(repr=False)
    without_password: str
    _login: str = field(repr=False)
    _hosts: tuple[_Host, ...] = field(repr=False)
    _path: str = field(repr=False)
    _parameters: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str, where: str = "LIVEROUTER_DATABASE_URL") -> Self:
        """Return the database that *text* names; *where* is the option that holds it.

        Raises:
            OptionsError: it is empty or no PostgreSQL URL, or one of its pieces cannot be what it stands for.
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
        if not separator or scheme not in _SCHEMES:
            raise OptionsError(
                f"'{scheme[:20] if separator else '…'}' is not a PostgreSQL URL",
                where=where,
                hint="Write postgresql://user:password@host:5432/name",
            )
        if is_misread(text):
            raise OptionsError(
                "the PostgreSQL URL cannot be read",
                where=where,
                hint=f"Write postgresql://user:password@host:5432/name, the port from 1 to {LAST_PORT}, and {ESCAPED}",
            )
        parts = urlsplit(text)
        login, at, written = parts.netloc.rpartition("@")
        parameters = tuple(parse_qsl(parts.query, keep_blank_values=True))
        named = dict(parameters)
        if not written:
            hosts, ports = named.get("host", "").split(","), named.get("port", "").split(",")
            if named.get("host") and len(ports) not in (1, len(hosts)):
                raise OptionsError(
                    "the PostgreSQL URL's parameters host and port do not pair up",
                    where=where,
                    hint="Name one port for all hosts, or one for each",
                )
            parameters = tuple((name, value) for name, value in parameters if name not in ("host", "port"))
        return cls(
            text=f"postgresql://{rest}",
            without_password=f"{written or named.get('host') or 'localhost'}{parts.path}",
            _login=login.replace("@", "%40") + at,  # asyncpg ends a login at its first @
            _hosts=_written(written) if written else _named(named.get("host", ""), named.get("port", "")),
            _path=parts.path,
            _parameters=parameters,
        )

    def per_host(self) -> tuple[str, ...]:
        """Return one URL per host, in the order they are named, with the parameters that asyncpg takes."""
        kept = [(name, value) for name, value in self._parameters if not _LIBPQ_ONLY.fullmatch(name)]
        urls = []
        for host in self._hosts:
            query = "&".join(f"{quote(name)}={quote(value)}" for name, value in (*kept, *host.parameters))
            urls.append(f"postgresql://{self._login}{host.written}{self._path}{'?' if query else ''}{query}")
        return tuple(urls)


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

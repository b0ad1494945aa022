"""The options after the ``?`` of a database URL: which serve here, which are ignored, and which are mistakes. Pure.

libpq's options do here what they do in libpq, as far as asyncpg and `connection` can. Those that it cannot, and those
that vendors write for other drivers, are ignored and told of. Any other is most likely a slip of the pen.
"""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from liverouter.errors import OptionsError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# What asyncpg takes in its URL. `database` is its own name for `dbname`.
_ASYNCPG: Final = _names(
    "application_name database dbname gsslib host krbsrvname options passfile password port ssl_max_protocol_version",
    "ssl_min_protocol_version sslcert sslcrl sslkey sslmode sslnegotiation sslpassword sslrootcert",
    "target_session_attrs user",
)
# What `connection` does.
OURS: Final = _names(
    "connect_timeout keepalives keepalives_count keepalives_idle keepalives_interval load_balance_hosts",
    "tcp_user_timeout",
)
# What `read_options` turns into others.
_TURNED: Final = _names("hostaddr service servicefile ssl")
TAKEN: Final = _ASYNCPG | OURS | _TURNED
# Whose option, and its names in lower case. None has a meaning here: pools, statement caches and search paths are ours.
_IGNORED: Final[Mapping[str, frozenset[str]]] = {
    "libpq, where asyncpg cannot": _names(
        "authtype channel_binding client_encoding fallback_application_name gssdelegation gssencmode",
        "max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer oauth_scope",
        "require_auth requirepeer requiressl scram_client_key scram_server_key sslcertmode sslcompression sslcrldir",
        "sslkeylogfile sslsni tty",
    ),
    "Prisma": _names(
        "connection_limit max_connection_lifetime max_idle_connection_lifetime pgbouncer pool_timeout schema",
        "single_use_connections socket_timeout sslaccept sslidentity",
    ),
    "Supabase and Vercel": _names("pool_mode supa workaround"),
    "node-postgres and postgres.js": _names(
        "connection connectiontimeoutmillis fetch_types idle_in_transaction_session_timeout idletimeoutmillis",
        "keepalive keepaliveinitialdelaymillis lock_timeout max max_lifetime prepare query_timeout statement_timeout",
        "uselibpqcompat",
    ),
    "pgx and lib/pq": _names(
        "binary_parameters default_query_exec_mode description_cache_capacity disable_prepared_binary_result krbspn",
        "pool_health_check_period pool_max_conn_idle_time pool_max_conn_lifetime pool_max_conn_lifetime_jitter",
        "pool_max_conns pool_min_conns pool_min_idle_conns prefer_simple_protocol search_path",
        "statement_cache_capacity statement_cache_mode",
    ),
    "asyncpg, psycopg and SQLAlchemy": _names(
        "async_fallback autocommit command_timeout echo max_cached_statement_lifetime max_overflow min_size max_size",
        "pool_pre_ping pool_recycle pool_size prepare_threshold prepared_statement_cache_size",
        "prepared_statement_name_func statement_cache_size timeout",
    ),
    "Django": _names("conn_health_checks conn_max_age disable_server_side_cursors"),
    "Rails": _names(
        "adapter advisory_locks charset checkout_timeout client_min_messages encoding idle_timeout min_messages pool",
        "prepared_statements reaping_frequency schema_search_path variables",
    ),
    "JDBC and Npgsql": _names(
        "applicationname connecttimeout currentschema gssencmode logintimeout preparedstatementcachequeries",
        "preparethreshold readonly rewritebatchedinserts sockettimeout sslfactory stringtype targetservertype",
        "tcpkeepalive",
    ),
    "sqlx and others": _names("datestyle statement-cache-capacity timezone"),
}
IGNORED: Final = frozenset[str]().union(*_IGNORED.values())

_CHOICES: Final[Mapping[str, frozenset[str]]] = {
    "sslmode": frozenset(("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
    "target_session_attrs": frozenset(("any", "read-write", "read-only", "primary", "standby", "prefer-standby")),
    "sslnegotiation": frozenset(("postgres", "direct")),
    "load_balance_hosts": frozenset(("disable", "random")),
}
_NUMBERS: Final = OURS - {"load_balance_hosts"}
_MOST: Final = 2_147_483  # seconds whose milliseconds a 32 bit number holds
# What other drivers write where libpq has sslmode.
_SSL: Final = {"true": "require", "1": "require", "on": "require", "no-verify": "require", "false": "disable"}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{2,39}")
_PASSWORDS: Final = ("password", "sslpassword")


def read_options(pairs: Iterable[tuple[str, str]], where: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the options that serve, by libpq's names, and the names of those that are ignored.

    The last of two with one name counts, and an empty one says nothing. What a service file says fills what the URL
    leaves open.

    Args:
        pairs: name and value of each option, decoded.
        where: the process option or the file that holds them, for errors.

    Raises:
        OptionsError: an option is not known, or its value cannot be used; the value is not repeated.
    """
    found: dict[str, str] = {}
    ignored: list[str] = []
    before = ""
    for written, value in pairs:
        name = written.lower()
        if name in TAKEN:
            found |= {name: value} if value else {}
        elif name in IGNORED:
            ignored.append(name)
        else:
            raise _unknown(written, where, hidden=before in _PASSWORDS)
        before = name
    if service := found.pop("service", ""):
        file, more = _service(service, found.pop("servicefile", ""), where)
        of_service, others = read_options(more, f"service '{service}' in {file}")
        found = of_service | found
        ignored += others
    found.pop("servicefile", None)
    _turn(found, ignored)
    _check(found, where)
    return found, tuple(dict.fromkeys(ignored))


def _turn(found: dict[str, str], ignored: list[str]) -> None:
    """Write what asyncpg does not know as what it does, in place."""
    if ssl := found.pop("ssl", ""):
        found.setdefault("sslmode", ssl)
    mode = found.get("sslmode", "").lower()
    if mode:
        found["sslmode"] = _SSL.get(mode, mode)
    address = found.pop("hostaddr", "")
    if address and "host" in found:
        ignored.append("hostaddr")
    elif address:
        found["host"] = ",".join(f"[{one}]" if ":" in one else one for one in address.split(","))


def _check(found: Mapping[str, str], where: str) -> None:
    """Raise an OptionsError where a value is none of those that its option takes."""
    for name, value in found.items():
        choices = _CHOICES.get(name)
        if choices is not None and value not in choices:
            raise OptionsError(
                f"the PostgreSQL URL's option {name} has a value that it does not know",
                where=where,
                hint=f"Write one of {', '.join(sorted(choices))}",
            )
        if name in _NUMBERS and not (value.isascii() and value.isdigit() and int(value[:10]) <= _MOST):
            raise OptionsError(
                f"the PostgreSQL URL's option {name} is no whole number", where=where, hint=f"Write {name}=10"
            )


def _unknown(name: str, where: str, *, hidden: bool) -> OptionsError:
    """Return the error for the option *name*, which is told unless it may be a piece of a password."""
    if hidden or not _NAME.fullmatch(name):
        return OptionsError(
            "the PostgreSQL URL has an option that is not known", where=where, hint="In a password write & as %26"
        )
    near = did_you_mean(name, TAKEN)
    hint = f"{near} Or remove it: it is none of libpq's, nor of a driver that is known here".lstrip()
    return OptionsError(f"the PostgreSQL URL's option '{name}' is not known", where=where, hint=hint)


def _service(name: str, named: str, where: str) -> tuple[Path, list[tuple[str, str]]]:
    """Return the file in which the connection service *name* stands, and its options.

    Args:
        name: of the service.
        named: the file that the URL names; else it is PGSERVICEFILE, this user's or the system's, as with libpq.
        where: the process option that names the service, for errors.

    Raises:
        OptionsError: there is no such service, or a file cannot be read.
    """
    given = named or os.environ.get("PGSERVICEFILE")
    files = [Path(given)] if given else [Path("~/.pg_service.conf")]
    if folder := os.environ.get("PGSYSCONFDIR"):
        files.append(Path(folder, "pg_service.conf"))
    for file in files:
        parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=False)
        try:
            parser.read_string(file.expanduser().read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, RuntimeError, UnicodeDecodeError, configparser.Error) as exc:
            raise OptionsError(
                f"the service file {file} cannot be read: {type(exc).__name__}", where=where, hint="Mend it"
            ) from None  # the text may hold a line of the file
        if parser.has_section(name):
            return file, [(option, value) for option, value in parser.items(name) if option != "service"]
    raise OptionsError(
        f"there is no service '{name}'",
        where=where,
        hint=f"Write a section [{name}] into {' or '.join(str(file) for file in files)}",
    )

"""Origins: scheme, host and port, which is how far a credential may go. Pure.

A credential is bound to the origins that it was stored for. Two URLs of one origin differ in their path alone, and the
origin decides who reads what is sent.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65_535
# Only what every URL parser reads in one way: a backslash, a control or a letter of Unicode means another host to some.
_ORIGIN: Final = re.compile(
    r"(https?)://([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?(?=[/?#]|\Z)", re.IGNORECASE | re.ASCII
)


def origin_of(url: str) -> str:
    """Return ``scheme://host[:port]`` of *url* in lower case, without the scheme's own port; "" where it has none.

    A URL with a user, with a port that no server can have, or whose host is not plain ASCII has no origin.
    """
    if (found := _ORIGIN.match(url.strip())) is None:
        return ""
    scheme, host, port = found[1].lower(), found[2].lower(), int(found[3]) if found[3] else None
    if port == 0 or (port is not None and port > _LAST_PORT):
        return ""
    shown = "" if port in (None, _DEFAULT_PORTS[scheme]) else f":{port}"
    return f"{scheme}://{host}{shown}"


def is_loopback(origin: str) -> bool:
    """Tell whether *origin* is this machine itself."""
    host = _host(origin)
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_host_of(origin: str, hosts: re.Pattern[str]) -> bool:
    """Tell whether *origin* is https on its own port at a host that *hosts* matches whole."""
    return origin.startswith("https://") and hosts.fullmatch(origin.removeprefix("https://")) is not None


def _host(origin: str) -> str:
    """Return the host of *origin*, an IPv6 address with its brackets."""
    host = origin.partition("://")[2]
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]

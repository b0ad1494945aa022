"""Addresses: what a host to bind to resolves to, and which addresses count as one visitor."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

_PREFIX_BITS: Final = 64  # of an IPv6 address; whoever is given one address is given the whole network
_MAX_LENGTH: Final = 64  # characters; what a proxy hands on as an address may be anything


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """Return the family and the first numeric address that *host* stands for on this machine; "" is every address.

    Raises:
        OSError: the name is not known here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    (found, *_) = socket.getaddrinfo(
        host.strip("[]") or None, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return family, str(found[4][0])


def is_loopback(address: str) -> bool:
    """Tell whether the numeric *address* can be reached from this machine only."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def visitor(address: str) -> str:
    """Return what limits count *address* as: an IPv4 address, also one that IPv6 carries, or an IPv6 network of /64.

    Text that is no address counts as itself, cut to _MAX_LENGTH.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_MAX_LENGTH]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _PREFIX_BITS), strict=False))
    return str(found)

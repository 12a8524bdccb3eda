"""Which addresses a download may connect to: the public Internet's, and hosts that the user named."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from clipsieve.schemas.errors import InputError

AllowedHosts = frozenset[tuple[str, int]]
"""(host, port) pairs that may be anywhere: names in lower case, addresses as Python spells them."""

# What ipaddress calls global, in all or some of the Python versions we run on, though no web server is there.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(block)
    for block in (
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is a cloud's metadata service
        "168.63.129.16/32",  # Azure's host, seen from its machines
        "192.0.0.0/24",  # IETF protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
    )
)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the public Internet, whatever tunnel or translation it is wrapped in.

    After IANA's special-purpose registries (RFC 6890). An IPv6 address that carries an IPv4 one (mapped,
    NAT64, 6to4) is what that one is; Teredo's 2001::/32 is never public.
    """
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in block for block in _NOT_PUBLIC_V4)
    carried = _carried_v4(address)
    if carried is not None:
        return is_public(carried)
    is_special = any(address in block for block in _NOT_PUBLIC_V6)
    return address in _GLOBAL_UNICAST_V6 and address.is_global and not is_special


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a URL's host spells, in any of the ways that a socket would take; None for a name.

    ``127.1``, ``0x7f000001``, ``017700000001`` and ``2130706433`` are all 127.0.0.1. A zone (``fe80::1%eth0``)
    is left out: it names an interface of this machine, which is no page's business.
    """
    bare = host.strip("[]").rstrip(".").partition("%")[0]
    try:
        return ip_address(bare)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(bare))
    except (OSError, ValueError):
        return None


def parse_allowed_hosts(hosts: Sequence[str]) -> AllowedHosts:
    """``HOST:PORT`` texts -> (host, port) pairs; an IPv6 host stands in brackets."""
    allowed = set()
    for text in hosts:
        host, _, port = text.rpartition(":")
        if not (host and port.isascii() and port.isdigit()):
            raise InputError(f"`allow_hosts`: {text!r} is not HOST:PORT, as 127.0.0.1:8080")
        address = literal_address(host)
        allowed.add((str(address) if address else host.lower(), int(port)))
    return frozenset(allowed)


def _carried_v4(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour

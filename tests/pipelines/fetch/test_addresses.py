from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.fetch.addresses import is_public, literal_address, parse_allowed_hosts
from clipsieve.schemas.errors import InputError

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "172.32.0.1",
    "192.0.1.0",
    "192.88.98.255",
    "192.88.100.0",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2606:4700::1111",
    "3ffe:ffff::1",
    "3fff:1000::1",
]
PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "64:ff9b:1::1",
    "4000::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_special_addresses_are_not(address):
    assert not is_public(ip_address(address))


def wrapped(v4):
    """An IPv4 address as every IPv6 address that leads to it."""
    return [
        IPv6Address(f"::ffff:{v4}"),
        IPv6Address(f"64:ff9b::{v4}"),
        IPv6Address(0x2002 << 112 | int(v4) << 80 | 1),
    ]


@given(st.ip_addresses(v=4) | st.sampled_from([IPv4Address(a) for a in PUBLIC + PRIVATE if ":" not in a]))
def test_a_wrapped_address_is_what_it_wraps(v4):
    assert {is_public(v6) for v6 in wrapped(v4)} == {is_public(v4)}


@given(st.ip_addresses(v=4))
def test_teredo_is_never_public(v4):
    server = int(IPv4Address("8.8.8.8"))
    assert not is_public(IPv6Address(0x20010000 << 96 | server << 64 | (int(v4) ^ 0xFFFFFFFF)))


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2000::/4"))
def test_nothing_is_public_that_python_calls_private(address):
    if is_public(address):
        assert address.is_global or getattr(address, "sixtofour", None)
        assert not (address.is_private or address.is_multicast or address.is_loopback or address.is_link_local)


@given(st.ip_addresses(v=4))
def test_every_spelling_of_an_address_is_known(v4):
    number = int(v4)
    a, b, c, d = v4.packed
    octal = oct(number).replace("0o", "0")
    spellings = [str(number), hex(number), octal, f"{a}.{b}.{c * 256 + d}", f"{v4}."]
    assert [literal_address(spelling) for spelling in spellings] == [v4] * len(spellings)
    assert literal_address(f"[::ffff:{v4}]") == IPv6Address(f"::ffff:{v4}")


@settings(max_examples=500)
@given(st.text("0178afx.:%", min_size=1, max_size=16))
def test_what_a_socket_takes_for_an_address_is_one(host):
    """A host that needs no look-up to connect to must never pass for a name."""
    try:
        infos = socket.getaddrinfo(host, 80, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return
    assert literal_address(host) == ip_address(str(infos[0][4][0]).partition("%")[0])


def test_allowed_hosts_are_host_and_port():
    parsed = parse_allowed_hosts(["127.0.0.1:80", "Example.ORG:8080", "[0:0::1]:9", "127.1:7"])
    assert parsed == {("127.0.0.1", 80), ("example.org", 8080), ("::1", 9), ("127.0.0.1", 7)}
    for wrong in ("127.0.0.1", "host:", ":80", "host:http", "host:8²"):
        with pytest.raises(InputError, match="is not HOST:PORT"):
            parse_allowed_hosts([wrong])

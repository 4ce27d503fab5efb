"""Where a webhook may go. A receiver's name is looked up once, every address of it is judged, and that address is used.

So a name cannot lead to the operator's own network, nor be pointed there between the look-up and the connection.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PORTS: Final = {"https": 443, "http": 80}
_NAT64: Final = ip_network("64:ff9b::/96")
_LOCAL_NAT64: Final = ip_network("64:ff9b:1::/48")


class RefusedAddressError(ValueError):
    """A webhook may not go there; the message says why, without the address."""


class Target(NamedTuple):
    """A receiver, and the addresses that it may be reached at."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read networks like 10.1.0.0/16; raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def target(url: str, allowed: Iterable[Network]) -> Target:
    """Look a receiver up and judge it; raises RefusedAddressError, or OSError where the name is not known.

    `allowed` are the private networks that it may be in. Without TLS it may be in those alone.
    """
    scheme, host, port, path = parts_of(url)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    inside = tuple(allowed)
    for text in addresses:
        address = ip_address(text.partition("%")[0])
        own = any(address in network for network in inside)
        if not own and not is_public(address):
            raise RefusedAddressError("it has a private address: see CHARGELINE_ALERTS__ALLOWED_NETWORKS")
        if not own and scheme == "http":
            raise RefusedAddressError("http without TLS goes to allowed private networks alone: take https")
    if not addresses:
        raise RefusedAddressError("it has no address")
    return Target(scheme, host, port, path, addresses)


def parts_of(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of a receiver's URL; raises RefusedAddressError where it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RefusedAddressError("it is no URL") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise RefusedAddressError("it must begin with https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise RefusedAddressError("it has a name or a password in it: the signature says who sends")
    if not url.isascii() or any(ord(letter) <= ord(" ") for letter in url):
        raise RefusedAddressError("it has letters that a URL has not")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the open internet, and so is every IPv4 address that it carries within."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address in _LOCAL_NAT64:
        return False
    teredo = address.teredo or ()
    carried = [a for a in (address.ipv4_mapped, address.sixtofour, *teredo) if a is not None]
    if address in _NAT64:
        carried.append(IPv4Address(int(address) & 0xFFFFFFFF))
    if carried:
        return all(is_public(inner) for inner in carried)
    return address.is_global and not address.is_multicast

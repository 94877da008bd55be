"""Which addresses of the network a stranger's URL may lead to: the public ones, and nothing that hides another."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from blocks.storage.protocol import StorageError, StorageUnavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Name and port to addresses as text.
Resolve = Callable[[str, int], list[str]]

# `is_global` follows the registry of special addresses, which leaves these open.
_REFUSED = [
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # a cloud's own service to its machines, on a public number
        "192.0.0.0/24",  # protocol assignments, among them another cloud's metadata
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # Teredo and other assignments that carry an IPv4 address or lead nowhere
        "2001:db8::/32",  # documentation, as the next
        "3fff::/20",
        "2002::/16",  # 6to4 carries an IPv4 address
    )
]
# Only this block of IPv6 is handed out; outside it lie mapped (::ffff:), compatible, NAT64 (64:ff9b:), unique local,
# link-local, site-local, segment routing and multicast addresses.
_HANDED_OUT = ipaddress.ip_network("2000::/3")


def is_public(address: Address) -> bool:
    """Whether a stranger may make us connect to it."""
    if isinstance(address, ipaddress.IPv6Address) and (address not in _HANDED_OUT or address.scope_id):
        return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global
    return not special and not any(address in network for network in _REFUSED)


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, as the machine's resolver knows them."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        message = f"The name {host!r} cannot be resolved. Check the address."
        passing = isinstance(error, socket.gaierror) and error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL)
        raise (StorageUnavailable if passing else StorageError)(message) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_addresses(host: str, port: int, resolve: Resolve, *, loopback: bool) -> list[str]:
    """The addresses of `host`, all of them fit to connect to. Raises `StorageError` if a single one is not.

    With `loopback`, this machine's own and no others.
    """
    addresses = [ipaddress.ip_address(text) for text in resolve(host, port)]
    allowed = (lambda address: address.is_loopback) if loopback else is_public
    if not addresses or not all(allowed(address) for address in addresses):
        # Which address it is stays untold: the answer would map our network for whoever wrote the URL.
        raise StorageError(f"{host!r} leads to an address that is not public. Give a file on a public web server.")
    return [str(address) for address in addresses]

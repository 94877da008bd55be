from __future__ import annotations

import ipaddress

import pytest

from blocks.storage.protocol import StorageError
from blocks.storage.reachable import checked_addresses, is_public, resolve

REFUSED = {
    "private": ["10.0.0.1", "172.16.0.1", "192.168.1.1", "fd00::1", "fd00:ec2::254"],
    "loopback": ["127.0.0.1", "127.9.9.9", "::1"],
    "link-local": ["169.254.169.254", "fe80::1", "fe80::1%eth0"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "shared": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "protocol assignments": ["192.0.0.1", "192.0.0.170", "192.0.0.192"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::1", "2002:808:808::1", "192.88.99.1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "site-local": ["fec0::1"],
    "others not handed out": ["100::1", "5f00::1", "4000::1"],
    "a cloud's own on a public number": ["168.63.129.16"],
}


@pytest.mark.parametrize("text", [text for group in REFUSED.values() for text in group])
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "93.184.216.34", "172.15.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]
)
def test_an_address_of_the_open_network_is_accepted(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    with pytest.raises(StorageError, match="not public") as refused:
        checked_addresses("two.example", 443, lambda *_: ["8.8.8.8", "10.0.0.1"], loopback=False)
    assert "10.0.0.1" not in str(refused.value)


def test_a_name_without_addresses_is_refused() -> None:
    with pytest.raises(StorageError):
        checked_addresses("none.example", 443, lambda *_: [], loopback=False)


@pytest.mark.parametrize("spelt", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1", "localhost"])
def test_no_spelling_of_this_machine_gets_through(spelt: str) -> None:
    with pytest.raises(StorageError):
        checked_addresses(spelt, 443, resolve, loopback=False)


def test_loopback_allows_this_machine_and_nothing_else() -> None:
    assert checked_addresses("localhost", 80, lambda *_: ["127.0.0.1", "::1"], loopback=True) == ["127.0.0.1", "::1"]
    with pytest.raises(StorageError):
        checked_addresses("localhost", 80, lambda *_: ["127.0.0.1", "8.8.8.8"], loopback=True)


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a" * 70 + ".example", "a..b"])
def test_a_name_that_means_nothing_is_an_error_of_the_storage(name: str) -> None:
    with pytest.raises(StorageError, match="cannot be resolved"):
        resolve(name, 443)

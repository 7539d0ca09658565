"""Hosts and addresses: which are safe to write down, and what is wrong with the others."""

import ipaddress
import re
from urllib.parse import urlsplit

from foundation.typed.mistakes import Mistake

MAX_ADDRESS = 300
# Networks at home (RFC 1918, RFC 4193), and what names end with there (RFC 6762, RFC 8375).
PRIVATE = [
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]
# Browsers decode %2e in a host, and other programs read other signs in their own way.
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = re.compile(rf"(?:{LABEL}(?:\.{LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
LOCAL_ENDS = (".local", ".lan", ".internal", ".home.arpa")


def read_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    ip = read_ip(host)
    return ip.is_loopback if ip else host == "localhost" or host.endswith(".localhost")


def is_within(host: str, domain: str) -> bool:
    return f".{host}".endswith(f".{domain}")


def is_private(host: str) -> bool:
    """An address in a network at home."""
    ip = read_ip(host)
    return ip is not None and any(ip in net for net in PRIVATE)


def is_local_name(host: str) -> bool:
    """A name that means something in one's own network only. Browsers take 0x7f000001 and
    2130706433 for addresses, so these are none."""
    last = host.rpartition(".")[2]
    is_number = re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last) is not None
    return not is_number and ":" not in host and ("." not in host or host.endswith(LOCAL_ENDS))


def parse_web_address(field: str, text: str, with_local_names: bool) -> str:
    """https; or http on this machine or at home. Raises Mistake, which says what is wrong."""
    address = text.strip()
    host, scheme = split_address(field, address)
    is_at_home = is_loopback(host) or is_private(host)
    if scheme == "https" or (scheme == "http" and is_at_home):
        return address
    if scheme == "http" and is_local_name(host):
        if with_local_names:
            return address
        raise Mistake(field, "address-local", about=address[:80])
    raise Mistake(
        field, "address-https" if scheme == "http" else "address-whole", about=address[:80]
    )


def split_address(field: str, address: str) -> tuple[str, str]:
    """Its host and scheme. Raises Mistake for what no address here may be."""
    if len(address) > MAX_ADDRESS:
        raise Mistake(field, "address-long")
    if not re.fullmatch("[!-~]*", address):
        raise Mistake(field, "address-signs", about=address[:80])
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Mistake(field, "address-whole", about=address[:80]) from None
    if re.search(r"[\\<>\"'#*]", address) or "@" in parts.netloc:
        raise Mistake(field, "address-signs", about=address[:80])
    is_host = HOST.fullmatch(parts.netloc) and (read_ip(host) or parts.netloc[:1] != "[")
    if parts.scheme in ("http", "https") and not (is_host and port != 0):
        raise Mistake(field, "address-whole", about=address[:80])
    return host, parts.scheme

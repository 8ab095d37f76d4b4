"""Where a server is, as a person writes it: [user@]server[:port]."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self

from remotejobs.errors import BadDestination

DEFAULT_PORT = 22

# It may end in a shell (`Match exec` of ssh_config) or in a message, so nothing in it may mean more there.
# The underscore is for aliases of ~/.ssh/config.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._+@-]{0,127}", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Destination:
    """A checked host (name, alias, IPv4 or IPv6 without brackets), port and user.

    `port_given` tells a written port from the default: the Port of an alias applies only to the latter.
    """

    host: str
    port: int = DEFAULT_PORT
    user: str | None = None
    port_given: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        whole = str(self)
        if not (_HOST.fullmatch(self.host) or _is_ipv6(self.host)):
            raise BadDestination(whole, "the server's name may hold letters, digits, dots and dashes")
        if self.user is not None and not _USER.fullmatch(self.user):
            raise BadDestination(whole, "the user name may hold letters, digits and . _ + - @")
        if not 1 <= self.port <= 65535:
            raise BadDestination(whole, "a port is a number from 1 to 65535")
        if self.port != DEFAULT_PORT:
            object.__setattr__(self, "port_given", True)

    @classmethod
    def parse(cls, text: str) -> Self:
        user, at, place = text.strip().rpartition("@")
        if ":" in user:
            # The password must not come back in a message, nor stand in a shell's history unnoticed.
            shown = f"{user.partition(':')[0]}:...@{place}"
            raise BadDestination(
                shown, "a password does not belong into it, it is asked for when it is needed"
            )
        host, port = _split_port(text, place)
        if port is not None and not _PORT.fullmatch(port):
            raise BadDestination(text, "a port is a number from 1 to 65535")
        return cls(host, int(port or DEFAULT_PORT), user if at else None, port is not None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port_given or self.port != DEFAULT_PORT else ""
        return f"{self.user}@{host}{port}" if self.user is not None else f"{host}{port}"


def _split_port(text: str, place: str) -> tuple[str, str | None]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_ipv6(host):
            raise BadDestination(text, "brackets hold an IPv6 address")
        return host, rest[1:] if rest else None
    if place.count(":") > 1:
        raise BadDestination(text, "an IPv6 address stands in brackets")
    host, colon, port = place.partition(":")
    return host, port if colon else None


def _is_ipv6(host: str) -> bool:
    try:
        # A scope ("%eth0") would bring in an alphabet of its own.
        return "%" not in host and bool(ipaddress.IPv6Address(host))
    except ValueError:
        return False

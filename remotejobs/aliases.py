"""What ~/.ssh/config says about a server, without running anything that it says."""

import getpass
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from remotejobs.destination import Destination
from remotejobs.errors import BadInput, LoginError
from remotejobs.hostkeys import host_key_name
from remotejobs.target import Target

MAX_FILE = 1 << 20
_LINE = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")  # as paramiko splits a line


def resolve(
    destination: Destination, config: Path | None, jumps: Sequence[Destination | Target] | None = None
) -> Target:
    """What a server that a person wrote comes to, looked up in `config` (None: it is taken as it stands).

    `jumps` replace those of the file, as `ssh -J` does; () means none. Raises LoginError for what we refuse to do.
    """
    return _resolve(destination, config, jumps, ())


def resolve_jumps(jumps: Sequence[Destination | Target], config: Path | None) -> tuple[Target, ...]:
    return _way(jumps, config, ())


def _resolve(
    destination: Destination,
    config: Path | None,
    jumps: Sequence[Destination | Target] | None,
    before: tuple[str, ...],
) -> Target:
    """`before`: the servers whose jumps led here, to see a circle."""
    found = _look_up(destination, config) if config else {}
    if jumps is None:
        _refuse_proxy_command(found, destination, config)
    given = destination.port_given or not found.get("port")
    try:
        # The same checks hold for what a file says as for what a person types.
        checked = Destination(
            found.get("hostname", destination.host),
            destination.port if given else int(found["port"]),
            destination.user or found.get("user") or _own_name(),
        )
        if jumps is None:
            jumps = parse_jumps(str(found.get("proxyjump", "none")))
        way = _way(jumps, config, (*before, str(destination).lower()))
        return Target(
            checked.host,
            checked.port,
            checked.user or "",
            tuple(Path(path).expanduser() for path in found.get("identityfile", ())),
            tuple(Path(path).expanduser() for path in _one(found.get("certificatefile"))),
            str(found.get("identitiesonly", "no")).lower() == "yes",
            str(found.get("hostkeyalias", "")).lower() or host_key_name(checked.host, checked.port),
            way,
        )
    except (ValueError, BadInput) as error:
        raise LoginError(f"{config} cannot be used for {destination.host}: {error}") from None


def parse_jumps(text: str) -> tuple[Destination, ...]:
    """As ProxyJump and `ssh -J` write them: a comma list, the first hop first; "none" is no jump. Raises BadDestination."""
    if text.strip().lower() in ("none", ""):
        return ()
    return tuple(Destination.parse(part.strip().removeprefix("ssh://")) for part in text.split(","))


def _way(
    jumps: Sequence[Destination | Target], config: Path | None, before: tuple[str, ...]
) -> tuple[Target, ...]:
    """Each jump is looked up as an alias. As with OpenSSH only the first one's own jumps count: by which way any later one
    is reached is said here.
    """
    hops: list[Target] = []
    for jump in jumps:
        if isinstance(jump, Target):
            hops.append(jump)
            continue
        if str(jump).lower() in before:
            raise LoginError(
                f"The jumps to {before[0]} lead in a circle: {' by '.join([*before, str(jump)])}. Mend ProxyJump in "
                f"{config}; `ProxyJump none` ends the way at a server that is reached directly."
            )
        hops.append(_resolve(jump, config, () if hops else None, before))
    return tuple(hops)


def _one(value: str | None) -> list[str]:
    return [] if value is None or value.lower() == "none" else [value]


def _refuse_proxy_command(found: dict[str, Any], destination: Destination, config: Path | None) -> None:
    if str(found.get("proxycommand") or "none").lower() != "none":
        raise LoginError(
            f"{config} reaches {destination.host} by proxycommand, which runs a command on this machine: that is not done "
            "here. If it is a jump through another server, write it as ProxyJump."
        )


def _look_up(destination: Destination, config: Path) -> dict[str, Any]:
    try:
        with config.open("rb") as file:
            text = file.read(MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return {}
    _refuse_match_exec(text, config)
    import paramiko

    try:
        return dict(paramiko.SSHConfig.from_text(text).lookup(destination.host))
    except (paramiko.SSHException, ValueError, KeyError) as error:
        raise LoginError(
            f"{config} cannot be read: {error}. Mend that line, or leave the file out."
        ) from None


def _refuse_match_exec(text: str, config: Path) -> None:
    """paramiko runs the command of `Match exec` at look-up, so it must not see such a file at all."""
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.match(line.strip())
        if not match or match[1].lower() != "match":
            continue
        try:
            words = shlex.split(match[2])
        except ValueError:
            words = ["exec"]
        if any(word.lstrip("!").lower() == "exec" for word in words):
            raise LoginError(
                f"Line {number} of {config} is a `Match exec`, which runs a command on this machine at each "
                "look-up: that is not done here. Move the block into a file of its own: Include is passed by."
            )


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise LoginError("Your own account has no name here: write the server as user@server.") from None

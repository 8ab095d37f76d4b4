"""What ~/.ssh/config says about a server, without running anything that it says."""

import getpass
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotejobs.destination import Destination
from remotejobs.errors import BadInput, LoginError
from remotejobs.hostkeys import host_key_name

MAX_FILE = 1 << 20
_LINE = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")  # as paramiko splits a line


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect in the end, and with what; an alias can be resolved once and kept as this."""

    host: str
    port: int
    user: str
    key_files: tuple[Path, ...] = ()
    only_these_keys: bool = False  # IdentitiesOnly: the agent's other keys are not offered
    key_name: str = ""  # under which the host key is known


def resolve(destination: Destination, config: Path | None) -> Target:
    """`config` None: the destination is taken as it stands. Raises LoginError for what we refuse to do."""
    found = _look_up(destination, config) if config else {}
    for option, why in _REFUSED.items():
        if str(found.get(option) or "none").lower() != "none":
            raise LoginError(f"{config} reaches {destination.host} by {option}, {why}")
    given = destination.port_given or not found.get("port")
    try:
        # The same checks hold for what a file says as for what a person types.
        checked = Destination(
            found.get("hostname", destination.host),
            destination.port if given else int(found["port"]),
            destination.user or found.get("user") or _own_name(),
        )
    except (ValueError, BadInput) as error:
        raise LoginError(f"{config} cannot be used for {destination.host}: {error}") from None
    return Target(
        checked.host,
        checked.port,
        checked.user or "",
        tuple(Path(path).expanduser() for path in found.get("identityfile", ())),
        str(found.get("identitiesonly", "no")).lower() == "yes",
        str(found.get("hostkeyalias", "")).lower() or host_key_name(checked.host, checked.port),
    )


_REFUSED = {
    "proxycommand": "which runs a command on this machine: that is not done here.",
    "proxyjump": "a jump through another server: that is not possible yet.",
}


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

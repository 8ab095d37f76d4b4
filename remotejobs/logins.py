"""How we are let in: named keys, the agent, the keys in ~/.ssh, then a password."""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remotejobs.aliases import Target
from remotejobs.errors import LoginRefused

if TYPE_CHECKING:
    from paramiko import PKey, Transport

# OpenSSH hangs up after six tries; each key is one, and a password must have its turn.
MAX_KEYS = 5
AGENT_SECONDS = 10.0  # a dead agent's socket would hang for ever; a living one may ask its owner to confirm
FOUND_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


class Login:
    """One login, as an authentication strategy for fabric. Asks nobody, and never shows a secret."""

    def __init__(
        self,
        target: Target,
        *,
        password: str | None = None,
        passphrase: str | None = None,
        keys: Sequence[Path] = (),
        allow_agent: bool = True,
        look_for_keys: bool = True,
    ) -> None:
        self._target = target
        self._password = password
        self._passphrase = passphrase
        self._named = [*keys, *target.key_files]
        self._allow_agent = allow_agent
        self._look_for_keys = look_for_keys and not target.key_files
        self._tried: list[str] = []
        self._obstacles: list[str] = []
        self._password_sent = False
        self._was_refused = False

    def authenticate(self, transport: "Transport") -> list[str]:
        """Called by paramiko once the host key is accepted.

        Raises LoginRefused with what was tried, or what broke the link before the server had refused anything: whom it
        would have let in is not known then, and it may be asked again without a person.
        """
        wanted_next = self._try_keys(transport)
        if not transport.is_authenticated() and transport.is_active() and self._password is not None:
            self._try_password(transport, wanted_next)
        if not transport.is_authenticated():
            if not transport.is_active():
                transport.get_exception()  # nobody may have asked it yet what ended it
            broken_by: Exception | None = getattr(transport, "broken_by", None)
            if broken_by and not self._was_refused:
                raise broken_by
            raise LoginRefused(self._sentence(transport.is_active()))
        return []

    def _try_keys(self, transport: "Transport") -> list[str]:
        """The methods that are still wanted, when a key was the first of two steps."""
        import paramiko

        offered: set[bytes] = set()
        for label, key in self._keys():
            if key.asbytes() in offered:
                continue
            if len(offered) == MAX_KEYS:
                self._obstacles.append(f"More than {MAX_KEYS} keys are not offered: name the right one.")
                break
            offered.add(key.asbytes())
            self._tried.append(label)
            try:
                return list(transport.auth_publickey(self._target.user, key))
            except paramiko.BadAuthenticationType:
                self._obstacles.append("It takes no keys.")
                break
            except (paramiko.SSHException, OSError) as error:
                if not transport.is_active():
                    break
                self._was_refused = True
                if not isinstance(error, paramiko.AuthenticationException):
                    self._obstacles.append(f"{label} could not sign.")
        return []

    def _keys(self) -> Iterator[tuple[str, "PKey"]]:
        yield from self._from_files(self._named, must_exist=True)
        if self._allow_agent:
            yield from self._from_agent()
        if self._look_for_keys:
            folder = Path.home() / ".ssh"
            yield from self._from_files([folder / name for name in FOUND_KEYS], must_exist=False)

    def _from_files(self, paths: Sequence[Path], must_exist: bool) -> Iterator[tuple[str, "PKey"]]:
        for path in paths:
            if path.is_file():
                key = self._load(path)
                if key is not None:
                    yield str(path), key
            elif must_exist:
                self._obstacles.append(f"There is no key file {path}.")

    def _load(self, path: Path) -> "PKey | None":
        import paramiko

        locked = False
        for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
            for passphrase in (None, self._passphrase):
                try:
                    key: PKey = kind.from_private_key_file(str(path), passphrase)
                    certificate = path.with_name(f"{path.name}-cert.pub")
                    if certificate.is_file():
                        key.load_certificate(str(certificate))
                    return key
                except paramiko.PasswordRequiredException:
                    locked = True
                except (paramiko.SSHException, ValueError, TypeError, IndexError, OSError):
                    continue
        if locked and self._passphrase is None:
            self._obstacles.append(f"{path} needs its passphrase: unlock it once with `ssh-add {path}`.")
        elif locked:
            self._obstacles.append(f"{path} cannot be unlocked with that passphrase.")
        else:
            self._obstacles.append(f"{path} cannot be read as a key of type ed25519, ecdsa or rsa.")
        return None

    def _from_agent(self) -> Iterator[tuple[str, "PKey"]]:
        import paramiko

        path = os.environ.get("SSH_AUTH_SOCK")
        if not path:
            return
        agent = _agent()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(AGENT_SECONDS)
                connection.connect(path)
                agent._connect(connection)
                for number, key in enumerate(agent.get_keys(), 1):
                    if not self._target.only_these_keys or key.asbytes() in self._named_publicly():
                        yield f"key {number} of the agent", key
        except (paramiko.SSHException, OSError, ValueError):
            self._obstacles.append("The agent at SSH_AUTH_SOCK does not answer.")

    def _named_publicly(self) -> set[bytes]:
        """The public halves that lie beside the named key files: which keys of the agent are meant."""
        import paramiko

        blobs = set()
        for path in self._named:
            try:
                blobs.add(paramiko.PublicBlob.from_file(f"{path}.pub").key_blob)
            except (OSError, ValueError):
                continue
        return blobs

    def _try_password(self, transport: "Transport", wanted_next: list[str]) -> None:
        import paramiko

        self._tried.append("the password")
        interactive = bool(wanted_next) and "password" not in wanted_next
        try:
            if not interactive:
                try:
                    transport.auth_password(self._target.user, self._password, fallback=False)
                    return
                except paramiko.BadAuthenticationType as error:
                    if "keyboard-interactive" not in error.allowed_types:
                        self._obstacles.append("It takes no passwords.")
                        return
            transport.auth_interactive(self._target.user, self._answer)
        except (paramiko.SSHException, OSError):
            self._was_refused |= transport.is_active()  # the rest of what it means is read from the transport

    def _answer(self, title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        """One hidden question is the password's; anything else (a code) is a person's to answer, not ours."""
        if len(prompts) == 1 and not prompts[0][1] and not self._password_sent and self._password is not None:
            self._password_sent = True
            return [self._password]
        if prompts:
            asked = "".join(c for c in prompts[0][0][:60] if c.isprintable()).strip()
            self._obstacles.append(f"It also asks for something that only a person can answer ({asked!r}).")
        return ["" for _ in prompts]

    def _sentence(self, still_there: bool) -> str:
        target = self._target
        tried = ", ".join(self._tried) or "nothing, for want of a usable key, agent or password"
        hung_up = "" if still_there else "It hung up. "
        port = "" if target.port == 22 else f"-p {target.port} "
        return " ".join(
            [
                f"{target.host} did not let us in as {target.user}. {hung_up}Tried: {tried}.",
                *dict.fromkeys(self._obstacles),
                f"Once `ssh {port}{target.user}@{target.host}` works without a question, this does too.",
            ]
        )


def _agent() -> Any:
    from paramiko.agent import AgentSSH

    return AgentSSH()

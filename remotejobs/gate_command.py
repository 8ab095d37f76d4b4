"""`remotejobs install-gate`: a narrow key, from nothing to its line in authorized_keys, as a person at a terminal meets it."""

import os
from pathlib import Path

import click

from remotejobs import foreign, gate, terminal
from remotejobs.authorized import OPEN, PublicKey
from remotejobs.errors import BadInput, ServerProblem
from remotejobs.shell import Shell

_NARROW = (
    "With it, the jobs that remotejobs keeps there can be listed, cancelled and run again (at most with another walltime, "
    "memory, cores or partition), and the end of what they print can be read. Nothing else: no shell, no files, no forwarding."
)
_DOUBTS = (
    "Warning: sshd on {server} lets a client set {words} (AcceptEnv). Some variables make a login shell run something before any "
    "forced command, and then no key is narrow: ask its administrators to take only LANG and LC_*."
)


def install(
    shell: Shell, host: str, key_file: str | None, addresses: tuple[str, ...], write: bool, remove: bool
) -> None:
    if remove:
        _remove(shell, key_file)
        return
    key, private = (PublicKey.read(key_file), None) if key_file else _key_for(host)
    installed = gate.install(shell, key, addresses)
    terminal.say(f"The gate {gate.build()} lies on {shell}, and was read back: {installed.account.path}")
    terminal.say(_NARROW)
    if installed.account.doubts:
        terminal.say(_DOUBTS.format(words=foreign.line(" ".join(installed.account.doubts)), server=shell))
    if installed.has_line and not installed.open_at:
        terminal.say(f"The line of the key {key.fingerprint} stands in ~/.ssh/authorized_keys there already.")
    elif installed.open_at:
        _show(installed)
        raise ServerProblem(OPEN.format(server=shell, line=installed.open_at[0]))
    elif write or _is_wanted(installed, shell):
        gate.write(shell, installed)
        terminal.say(f"Its line is in ~/.ssh/authorized_keys on {shell} now.")
    else:
        _show(installed)
        terminal.say(
            f"Add this line to ~/.ssh/authorized_keys on {shell}, as one line; or run the same command with --write. (Where a "
            "site keeps keys elsewhere, it goes there.)"
        )
    if private:
        terminal.say(f"The private key is {private}: it goes to where the app runs, and nowhere else.")


def _remove(shell: Shell, key_file: str | None) -> None:
    count, is_gone = gate.remove(shell, PublicKey.read(key_file) if key_file else None)
    lines = "1 line" if count == 1 else f"{count} lines"
    terminal.say(f"Removed {lines} from ~/.ssh/authorized_keys on {shell}.")
    terminal.say(
        "The gate is gone."
        if is_gone
        else "There is no gate there."
        if not count
        else "The gate stays: other keys use it."
    )


def _show(installed: gate.Installed) -> None:
    click.echo(installed.line)


def _is_wanted(installed: gate.Installed, shell: Shell) -> bool:
    if not terminal.is_interactive():
        return False
    _show(installed)
    answer = click.prompt(
        f"Add this line to ~/.ssh/authorized_keys on {shell} now? (yes/no)", default="no", err=True
    )
    return str(answer).strip().lower() == "yes"


def _key_for(host: str) -> tuple[PublicKey, Path | None]:
    """A key of its own for this server, made unless it was made before: the public half, and where the private one lies."""
    # Not at the top: it takes a while, and no other command needs it.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    private = Path.home() / ".ssh" / f"remotejobs_{host.replace(':', '-')}"
    public = private.with_name(private.name + ".pub")
    if public.is_file():
        return PublicKey.read(public), private
    try:
        private.parent.mkdir(mode=0o700, exist_ok=True)
        made = Ed25519PrivateKey.generate()
        _create(private, made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
        text = (
            made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" remotejobs-narrow\n"
        )
        _create(public, text, 0o644)
    except OSError as error:
        raise BadInput(
            f"No key could be made: {error.filename or private}: {error.strerror}. Name one with --key."
        ) from error
    terminal.say(f"Made a key of its own for this, without a passphrase: {private}")
    return PublicKey.read(public), private


def _create(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)

"""Copies a local folder to the server before a submission: a tar stream, in an exec of its own."""

import base64
import secrets
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from remotejobs import sentences
from remotejobs.errors import BadInput, ServerProblem
from remotejobs.program import packed
from remotejobs.shell import Shell

_SENTENCES = {
    "no-folder": "The folder {folder} cannot be made or entered on {server}.",
    "not-stored": "The files could not be stored in {folder} on {server}: is the disk or the quota full?",
}


def send(shell: Shell, local_path: str, remote_path: str, timeout: float = 3600.0) -> None:
    """Copies what is in `local_path` into `remote_path` (made if missing; other files there stay). Raises ServerProblem."""
    word = secrets.token_hex(8)
    head = f"{word} {base64.b64encode(remote_path.encode()).decode()}\n".encode()
    with tempfile.SpooledTemporaryFile(max_size=1 << 20) as stream:
        stream.write(head)
        try:
            with tarfile.open(fileobj=stream, mode="w") as archive:
                archive.add(local_path, arcname=".", filter=_without_owner)
        except OSError as error:
            raise BadInput(
                f"{error.filename or local_path} cannot be read here: {error.strerror}."
            ) from error
        stream.seek(0)
        output = shell.run(_command(), stream, timeout=timeout, limit=1 << 20)
    with output.stdout as answer:
        lines = [line.split() for line in answer.read().decode("utf-8", "replace").splitlines()]
    if any(line[:2] == ["remotejobs", "gate"] for line in lines):
        raise ServerProblem(sentences.narrow(shell))
    said = next((line[1] for line in lines if len(line) == 2 and line[0] == word), "")
    if said != "stored":
        sentence = _SENTENCES.get(said, "The files could not be copied to {server}.")
        raise ServerProblem(sentence.format(folder=remote_path, server=shell))


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


@cache
def _command() -> str:
    return packed(Path(__file__).with_name("receive.sh").read_text())

"""A command of the program on the server that dies, or fails, has not found nothing: what it would have said is unknown."""

import os
import shutil
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from library.machines import APP
from library.registries import Folder, fact_text, key_of, settings_text

from remotejobs import RemoteJobSubmitter, ServerProblem
from remotejobs.answer import Outcome
from remotejobs.errors import ActionUnknown
from remotejobs.exchange import Cancel, Request, SourceRequest, exchange
from remotejobs.records import JobKey
from remotejobs.settings import work_hash
from remotejobs.shell import LocalShell

SUBMITTED = 1700000000
Strike = Callable[..., None]
KILLED, FAILS = "kill -9 $$", "exit 1"


KEY = key_of(1)
HOST = socket.gethostname().partition(".")[0]
PROCESS = {"scheduler": "process", "cluster": HOST, "host": HOST}
STAND_IN = """\
#!/bin/sh
case "$*" in
  *{line}*)
    number=1
    until mkdir {place}/struck.$number 2>/dev/null; do number=$((number + 1)); done
    [ {times} -gt 0 ] && [ $number -gt {times} ] || {{ {end}; }} ;;
esac
exec {real} "$@"
"""


@pytest.fixture
def folder(home: Path) -> Folder:
    return Folder.make(home)


@pytest.fixture
def strike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Strike:
    """Of the runs of a command whose line looks like that, the first `times` (all, unless told) end in another way."""
    place = tmp_path / "stand-ins"
    place.mkdir()

    def arm(name: str, line: str, end: str = KILLED, times: int = 0) -> None:
        real = shutil.which(name, path="/usr/bin:/bin")
        (place / name).write_text(STAND_IN.format(place=place, line=line, times=times, end=end, real=real))
        (place / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")

    return arm


def sealed_one(folder: Folder, key: str = KEY, name: str = "b1") -> Path:
    """A job of this machine that is over and was sealed."""
    words = PROCESS | {"id": 4711, "sid": 4711, "start_ticks": 1, "boot": "before", "submitted": SUBMITTED}
    files = {
        f"{key}.json": settings_text(scheduler="process"),
        f"{key}.id": fact_text(**words),
        f"{key}.exit.1": fact_text(code=0, time=SUBMITTED + 9),
        f"{key}.sched.1": fact_text(source="none", line="", time=SUBMITTED + 9),
    }
    return folder.sealed(name, files, [key])


def cancelled(key: str = KEY) -> Outcome:
    asked = Cancel(str(uuid.uuid4()), APP, JobKey.parse(key))
    answer = exchange(LocalShell(), Request([SourceRequest(APP, None)], [asked]))
    answer.close()
    return answer.outcomes[asked.uuid]


# ---- what was sealed ----


@pytest.mark.parametrize("end", [KILLED, FAILS])
def test_no_number_is_given_while_the_sealed_lists_cannot_be_read(
    folder: Folder, strike: Strike, end: str
) -> None:
    jobs = RemoteJobSubmitter(APP)
    made = jobs.create_settings(None, None, "true", scheduler="process", shell="/bin/sh")
    sealed_one(folder, f"{work_hash(made)}_1")
    strike("cat", "sealed/b1.names", end)
    with pytest.raises(ServerProblem, match="could not read"):
        jobs.generate_id(made)
    with pytest.raises(ActionUnknown, match="cannot be read"):
        jobs.submit_job(made)
    assert list((folder.path / "runs").iterdir()) == []
    strike("cat", "nothing")
    assert jobs.submit_job(made)["jobid"] == f"{work_hash(made)}_2"


def test_a_pipe_or_a_link_in_the_place_of_a_sealed_list_blocks_nobody(folder: Folder) -> None:
    sealed_one(folder)
    os.mkfifo(folder.path / "sealed" / "p.names")
    (folder.path / "sealed" / "l.names").symlink_to("/dev/zero")
    jobs = RemoteJobSubmitter(APP)
    assert jobs.settings.highest_n(KEY.partition("_")[0]) == 1
    assert cancelled().code == "was-over"
    with jobs.changes() as changes:
        list(changes)
        cursor = changes.cursor
    (folder.path / "sealed" / "b1.names").unlink()
    os.mkfifo(folder.path / "sealed" / "b1.names")
    folder.good(1)
    with jobs.changes(cursor) as changes:
        assert len(list(changes)) == 1
        assert changes.unreadable == 1

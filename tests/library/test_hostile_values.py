"""Every word that a person or a server controls travels as data: hostile values in all of them, and nothing runs but the job.

On a real sshd, with plain processes and with Slurm. A canary is a file that only an executed value could have made.
"""

import os
import stat
import time
import uuid
from pathlib import Path

import pytest
from library.machines import APP, Machine, until
from library.registries import Folder, fact_text, key_of, settings_text

from remotejobs import BadInput, Destination, JobKey, RemoteJobsError, RemoteJobSubmitter
from remotejobs.errors import LoginError
from remotejobs.exchange import Cancel, Request, Resubmission, SourceRequest, exchange

EVIL = [
    "; touch ~/canary",
    "$(touch ~/canary)",
    "`touch ~/canary`",
    "' ; touch ~/canary ; '",
    '" ; touch ~/canary ; "',
    "\\'; touch ~/canary #",
    "| touch ~/canary",
    "& touch ~/canary &",
    "\ntouch ~/canary\n",
    "\rtouch ~/canary\r",
    "\nremotejobs_eof\ntouch ~/canary\n",
    "--help",
    "-rf",
    "-oProxyCommand=touch ~/canary",
    "*",
    "[a-z]?",
    "~",
    "~root/x",
    "$HOME",
    "${IFS}",
    "a\\",
    "%s%n%x",
    "!!",
    "#",
    "a\tb",
    "",
    "\x1b[2J\x07",
    "\u202e\u2028<script>alert(1)</script>",
]
# As the name of a file or a folder: without what no name may hold.
NAMES = [evil.replace("~/", "").replace("/", "_") for evil in EVIL if evil]
SHOW = """#!/bin/sh
printf '%s\\0' "$@" >arguments
for name in $NAMES; do eval "printf '%s\\0' \\"\\$$name\\""; done >values
"""


@pytest.fixture(params=["an SSH server", "a Slurm cluster"])
def there(request: pytest.FixtureRequest) -> Machine:
    machine: Machine = request.getfixturevalue("server" if "SSH" in request.param else "slurm_cluster")
    return machine


def canaries(*folders: Path) -> list[Path]:
    return [path for folder in (*folders, Path.cwd()) for path in folder.rglob("canary*")]


def test_what_a_person_gives_reaches_the_job_as_it_was_and_runs_nowhere(
    there: Machine, tmp_path: Path, home: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "show").write_text(SHOW)
    (files / "show").chmod(0o755)
    for name in NAMES:
        (files / name).write_text(name)
    environment = {f"EVIL_{number}": evil for number, evil in enumerate(EVIL)}
    where = "runs " + "".join(name for name in NAMES if "\n" not in name and "\r" not in name)[:200]
    jobs = there.submitter()
    settings = jobs.create_settings(
        str(files),
        f"~/{where}",
        "./show",
        EVIL,
        "",
        "",
        environment | {"NAMES": " ".join(environment)},
        name="".join(evil for evil in EVIL if evil.isprintable())[:200],
        scheduler=there.scheduler,
        shell="/bin/sh",
    )
    jobid = str(jobs.submit_job(settings)["jobid"])
    state = until(jobs, jobid, lambda state: state["ended"])
    assert (state["status"], state["exit_code"]) == ("done", 0)
    ran = there.home / where
    assert (ran / "arguments").read_bytes().decode().split("\0")[:-1] == EVIL
    assert (ran / "values").read_bytes().decode().split("\0")[:-1] == EVIL
    assert {path.name for path in ran.iterdir()} == {*NAMES, "show", "arguments", "values"}
    assert jobs.cancel_job(*JobKey.parse(jobid))
    again = JobKey(*jobs.resubmit_job(*JobKey.parse(jobid)))
    until(jobs, str(again), lambda state: state["ended"])
    jobs.clean(settled_days=1.0)
    assert canaries(there.home, tmp_path) == []


def test_lines_of_shell_run_in_the_job_and_nowhere_before_it(slurm_cluster: Machine, tmp_path: Path) -> None:
    """Command, before and after are shell by their nature; this job may not start for an hour."""
    jobs = slurm_cluster.submitter()
    settings = jobs.create_settings(
        None,
        None,
        "touch ~/canary; $(touch ~/canary)",
        ["`touch ~/canary`"],
        "echo '\n#SBATCH --wrap=x\ntouch ~/canary\n'; touch ~/canary",
        "EOF\ntouch ~/canary",
        {"X": "'; touch ~/canary; '"},
        scheduler="slurm",
        extra=["--begin=now+1hour"],
    )
    jobid = str(jobs.submit_job(settings)["jobid"])
    assert jobs.check_state(*JobKey.parse(jobid), False)["status"] in ("queued", "submitted")
    assert jobs.cancel_job(*JobKey.parse(jobid))
    assert canaries(slurm_cluster.home, tmp_path) == []


@pytest.mark.parametrize("evil", [*EVIL[:-1], "x\0y"])
def test_what_names_something_is_refused_before_anything_is_sent(evil: str, home: Path) -> None:
    """App, key, action, server, jump, scheduler, shell, the name of a variable, and what is asked of a scheduler."""
    with pytest.raises(BadInput):
        RemoteJobSubmitter(evil)
    jobs = RemoteJobSubmitter("app")
    for refused in (
        lambda: jobs.cancel_job(evil, 1),
        lambda: jobs.check_state("0" * 32 + evil, 1),
        lambda: jobs.resubmit_job("0" * 32, 1, action=evil or "x"),
        lambda: Destination.parse(evil),
        lambda: Destination.parse(f"{evil}@host") if evil != "~" else Destination.parse(evil),
        lambda: RemoteJobSubmitter("app", evil or "-", jumps=[evil]),
        lambda: jobs.create_settings(None, None, "true", scheduler=evil or "-"),
        lambda: jobs.create_settings(None, None, "true", shell=evil or "-"),
        lambda: jobs.create_settings(None, None, "true", environment={evil: "x"}),
    ):
        with pytest.raises((BadInput, LoginError)):
            refused()
    assert canaries(home) == []


@pytest.mark.parametrize(
    "option", ["walltime", "cores", "memory", "gpus", "partition", "account", "qos", "extra"]
)
def test_what_is_asked_of_a_scheduler_is_a_word_or_is_refused(
    slurm_cluster: Machine, option: str, tmp_path: Path
) -> None:
    jobs = slurm_cluster.submitter()
    for evil in (
        "x; touch ~/canary",
        "$(touch ~/canary)",
        "x\ntouch ~/canary",
        "x --wrap=touch",
        "-x",
        "`touch ~/canary`",
    ):
        value = [evil] if option == "extra" else evil
        with pytest.raises(RemoteJobsError):
            jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="slurm", **{option: value}))
    assert canaries(slurm_cluster.home, tmp_path) == []


@pytest.mark.parametrize(
    "field", ["command", "arguments", "environment", "before", "after", "name", "remote_path"]
)
def test_a_nul_is_refused(field: str) -> None:
    jobs = RemoteJobSubmitter("app")
    given: dict[str, object] = {"local_path": None, "remote_path": None, "command": "true"}
    evil = "x\0touch ~/canary"
    given[field] = {"arguments": [evil], "environment": {"X": evil}}.get(field, evil)
    with pytest.raises(BadInput):
        jobs.submit_job(jobs.create_settings(**given, scheduler="process"))  # type: ignore[arg-type]


def test_what_stands_in_a_record_on_the_server_runs_neither_there_nor_here(
    there: Machine, tmp_path: Path
) -> None:
    """Whoever can write there (a program of the user's own, another tool) controls each word of it."""
    folder = Folder.make(there.home)
    keys = [key_of(number) for number in range(1, len(EVIL) + 1)]
    for key, evil in zip(keys, EVIL, strict=True):
        flat = evil.replace("\n", " ").replace("\r", " ")
        words = dict.fromkeys(
            ("cluster", "host", "id", "sid", "submitted", "incarnation", "boot", "start_ticks"), flat
        )
        folder.settings(
            key, settings_text(name=evil, command=evil, arguments=[evil], script=evil, shell=evil)
        )
        folder.fact(key, "id", fact_text(scheduler=there.scheduler, **words))
        folder.fact(key, "start.1", fact_text(time=flat, node=flat))
        folder.fact(key, "sched.1", fact_text(source=flat, line=flat, time=flat))
        folder.fact(key, f"gone.1{flat.replace('/', '_')}"[:100])
    for name in NAMES:
        folder._write(folder.path / "settings" / name, settings_text())
        folder._write(folder.path / "facts" / f"{keys[0]}.{name}"[:200], fact_text(time=1))
        (folder.path / "runs" / name).mkdir()
        folder.path.joinpath("sealed", f"{name}.gz").write_bytes(b"x")
        folder.path.joinpath("sealed", f"{name}.names").write_text(f"{name}\n")
        folder.path.joinpath("actions", name).mkdir()
        folder.path.joinpath("trash", name).mkdir()
        folder.path.joinpath("hosts", name).write_text(f"PATH={name}\n")
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "secret").write_text("secret")
    for name in ("settings", "facts", "runs", "trash", "sealed"):
        (folder.path / name / f"{keys[1]}.link").symlink_to(outside)
        (folder.path / name / f"{keys[2]}.up").symlink_to("../../..")
    folder.owned_by(there.home.owner())
    before = listing_of(outside)

    jobs = there.submitter()
    known = jobs.settings.list_keys()
    assert set(known) <= set(keys)
    assert set(jobs.check_states(keys)) == set(known)
    now = time.time()
    actions = [Cancel(str(uuid.uuid4()), APP, JobKey.parse(key)) for key in keys]
    again = [Resubmission(str(uuid.uuid4()), APP, JobKey.parse(key), now) for key in keys[:6]]
    answer = exchange(there.shell, Request([SourceRequest(APP)], [*actions, *again]))
    assert len(answer.outcomes) == len(actions) + len(again)
    assert not any("\x1b" in outcome.sentence for outcome in answer.outcomes.values())
    changes = jobs.changes()
    assert "secret" not in "".join(str(change) for change in changes)
    jobs.clean(settled_days=1.0, trash_days=0.0)
    assert canaries(there.home, tmp_path) == []
    assert listing_of(outside) == before
    assert jobs.settings.list_keys()


def listing_of(folder: Path) -> list[tuple[str, int, int]]:
    return [
        (str(path), stat.S_IMODE(os.lstat(path).st_mode), os.lstat(path).st_mtime_ns)
        for path in [folder, *folder.rglob("*")]
    ]

"""One home that two clusters, or two login nodes, share: each acts on its own jobs, and the others' records stay as they are."""

import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster.parts import need, wait_until
from cluster.slurm import Slurm
from cluster.sshd import Sshd
from library.machines import APP, over_ssh, until

from remotejobs import ActionRefused, ActionUnknown, RemoteJobSubmitter
from remotejobs.shell import LocalShell


class Through:
    """A shell whose commands run behind a beginning: another login node's environment, or its name."""

    def __init__(self, shell: Any, beginning: str, *, quoted: bool = False) -> None:
        self._shell, self._beginning, self._quoted = shell, beginning, quoted

    def run(self, command: str, *arguments: Any, **options: Any) -> Any:
        said = shlex.quote(command) if self._quoted else command
        return self._shell.run(f"{self._beginning} {said}", *arguments, **options)

    def __str__(self) -> str:
        return "the other one"


def jobs_through(shell: Any, beginning: str, *, quoted: bool = False) -> RemoteJobSubmitter:
    return RemoteJobSubmitter(APP, shell=Through(shell, beginning, quoted=quoted))  # type: ignore[arg-type]


def submit(
    jobs: RemoteJobSubmitter, scheduler: str, command: str, action: str | None = None
) -> dict[str, Any]:
    return jobs.submit_job(jobs.create_settings(None, None, command, scheduler=scheduler), action=action)


def key(submitted: dict[str, Any]) -> tuple[str, int]:
    hash_, n = submitted["jobid"].rsplit("_", 1)
    return hash_, int(n)


def runs(jobs: RemoteJobSubmitter, submitted: dict[str, Any]) -> dict[str, Any]:
    return until(
        jobs, submitted["jobid"], lambda state: (state["status"], state["evidence"]) == ("running", "queue")
    )


def files(registry: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for folder in ("facts", "settings")
        for path in (registry / folder).iterdir()
    }


# ---- two clusters ----


@pytest.fixture
def user(sshd: Sshd, slurm: Slurm, slurm_without_accounting: Slurm) -> Iterator[str]:
    account = sshd.account()
    yield account.user
    for cluster in (slurm, slurm_without_accounting):
        cluster.works("scancel", "--user", account.user)


@pytest.fixture
def clusters(
    sshd: Sshd, slurm: Slurm, slurm_without_accounting: Slurm, user: str
) -> Iterator[tuple[RemoteJobSubmitter, RemoteJobSubmitter]]:
    """The same account and home, logged in to a login node of each."""
    with over_ssh(sshd, user) as shell:
        here, there = (
            jobs_through(shell, f"SLURM_CONF={cluster.conf}; export SLURM_CONF;")
            for cluster in (slurm, slurm_without_accounting)
        )
        yield here, there


def count_on_to_the_same_id(*clusters: Slurm) -> None:
    """The next job of each gets the same id."""
    last = {cluster.cluster: 0 for cluster in clusters}
    while len(set(last.values())) != 1 or 0 in last.values():
        behind = min(clusters, key=lambda cluster: last[cluster.cluster])
        said = behind.run("sbatch", "--parsable", "--hold", "-o", "/dev/null", "--wrap", "true")
        last[behind.cluster] = int(said.partition(";")[0])
        behind.run("scancel", said.strip())


def test_each_cluster_judges_and_stops_its_own_jobs_alone_though_they_have_the_same_id(
    clusters: tuple[RemoteJobSubmitter, RemoteJobSubmitter],
    slurm: Slurm,
    slurm_without_accounting: Slurm,
    sshd: Sshd,
    user: str,
) -> None:
    here, there = clusters
    count_on_to_the_same_id(slurm, slurm_without_accounting)
    ours, theirs = submit(here, "slurm", "sleep 301"), submit(there, "slurm", "sleep 302")
    assert ours["scheduler_id"] == theirs["scheduler_id"]
    runs(here, ours)
    runs(there, theirs)
    (registry,) = (path for path in sshd.folder.glob(f"home-*/.{APP}") if path.owner() == user)
    wait_until(lambda: f"{theirs['jobid']}.start.1" in files(registry), "the wrapper notes its start")
    before = files(registry)
    state = here.check_states([theirs["jobid"]])[theirs["jobid"]]
    assert (state["status"], state["evidence"], state["settling"]) == ("running", "inferred", False)
    for act in (here.cancel_job, here.resubmit_job):
        with pytest.raises(
            ActionRefused, match=r"^This job belongs to plain, and the other one leads to another"
        ):
            act(*key(theirs))
    assert files(registry) == before
    assert here.cancel_job(*key(ours)) == "Cancelled."
    runs(there, theirs)
    assert there.check_state(*key(ours), False)["status"] == "cancelled"
    assert there.resubmit_job(*key(theirs)) == (key(theirs)[0], 2)
    assert there.cancel_job(*key(theirs)) == "Cancelled."


def test_what_was_begun_on_one_cluster_is_not_submitted_again_by_a_try_that_comes_over_the_other(
    clusters: tuple[RemoteJobSubmitter, RemoteJobSubmitter],
    slurm: Slurm,
    slurm_without_accounting: Slurm,
    sshd: Sshd,
    user: str,
) -> None:
    here, there = clusters
    (home,) = (path for path in sshd.folder.glob("home-*") if path.owner() == user)
    shim = home / "bin" / "sbatch"
    shim.parent.mkdir(mode=0o755)
    late = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    shim.write_text(f'#!/bin/sh\n/usr/bin/sbatch "$@" >/dev/null\necho "{late}" >&2\nexit 1\n')
    shim.chmod(0o755)
    action = str(uuid.uuid4())
    with over_ssh(sshd, user) as shell:
        slow = jobs_through(
            shell, f"SLURM_CONF={slurm.conf} PATH={shim.parent}:$PATH; export SLURM_CONF PATH;"
        )
        with pytest.raises(ActionUnknown, match="did not say whether"):
            submit(slow, "slurm", "sleep 303", action)
    with pytest.raises(ActionUnknown, match=r"^It was begun on testbed"):
        submit(there, "slurm", "sleep 303", action)
    assert queue(slurm_without_accounting, user) == []
    done = submit(here, "slurm", "sleep 303", action)
    assert queue(slurm, user) == [done["scheduler_id"]]
    again = submit(there, "slurm", "sleep 303", action)
    assert (again["jobid"], again["scheduler_id"]) == (done["jobid"], done["scheduler_id"]), (
        "that it was done is known"
    )
    assert queue(slurm_without_accounting, user) == []
    # Where it was begun is known by the id as well.
    act = home / f".{APP}" / "actions" / action
    (act / "released").unlink()
    (act / "key").write_text((act / "key").read_text().splitlines()[0] + "\n")
    with pytest.raises(ActionUnknown, match=r"^It was begun on testbed"):
        submit(there, "slurm", "sleep 303", action)
    assert queue(slurm_without_accounting, user) == []


def queue(cluster: Slurm, user: str) -> list[str]:
    return cluster.run("squeue", "-h", "-a", "-t", "all", "-u", user, "-o", "%A").split()


# ---- two login nodes ----
@pytest.fixture
def login_nodes() -> tuple[RemoteJobSubmitter, RemoteJobSubmitter]:
    """This machine under two names, each in a namespace of its own."""
    need("two names of this machine", "unshare", "hostname", root=True)
    one, two = (jobs_through(LocalShell(), on_host(name), quoted=True) for name in ("login1", "login2"))
    return one, two


def on_host(name: str, before: str = "") -> str:
    return f"""exec unshare --uts /bin/sh -c 'hostname {name}; {before} exec /bin/sh -c "$0"'"""


def test_a_process_of_one_login_node_is_neither_judged_nor_stopped_on_the_other(
    login_nodes: tuple[RemoteJobSubmitter, RemoteJobSubmitter], home: Path
) -> None:
    one, two = login_nodes
    job = submit(one, "process", "sleep 301")
    assert runs(one, job)["cluster"] == "login1"
    process = psutil.Process(int(job["scheduler_id"]))
    wait_until(lambda: f"{job['jobid']}.start.1" in files(home / f".{APP}"), "the wrapper notes its start")
    before = files(home / f".{APP}")
    for _again in range(2):
        state = two.check_states([job["jobid"]])[job["jobid"]]
        assert (state["status"], state["evidence"], state["settling"]) == ("running", "inferred", False)
    for act in (two.cancel_job, two.resubmit_job):
        with pytest.raises(ActionRefused, match=r"^This job belongs to login1, and .* leads to another"):
            act(*key(job))
    assert files(home / f".{APP}") == before
    assert process.is_running()
    assert one.cancel_job(*key(job)) == "Cancelled."
    assert two.check_state(*key(job), False)["status"] == "cancelled"
    assert one.resubmit_job(*key(job)) == (key(job)[0], 2)
    assert one.cancel_job(key(job)[0], 2) == "Cancelled."


def test_a_process_that_was_begun_on_one_login_node_is_started_there_alone(
    login_nodes: tuple[RemoteJobSubmitter, RemoteJobSubmitter], home: Path, tmp_path: Path
) -> None:
    one, two = login_nodes
    broken = tmp_path / "chmod"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    action = str(uuid.uuid4())
    stuck = jobs_through(LocalShell(), on_host("login1", f"PATH={tmp_path}:$PATH; export PATH;"), quoted=True)
    with pytest.raises(ActionUnknown):
        submit(stuck, "process", "echo ran >>~/ran", action)
    with pytest.raises(ActionUnknown, match=r"^It was begun on login1"):
        submit(two, "process", "echo ran >>~/ran", action)
    done = submit(one, "process", "echo ran >>~/ran", action)
    assert submit(two, "process", "echo ran >>~/ran", action)["jobid"] == done["jobid"]
    wait_until(lambda: one.check_state(*key(done), False)["status"] == "done", "its end")
    assert (home / "ran").read_text() == "ran\n"
    assert one.settings.list_keys() == [done["jobid"]]

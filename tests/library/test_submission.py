"""A job is submitted once, as it was asked for, and what runs is what was kept."""

import os
import shlex
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cluster.steps import Steps
from library.machines import Machine, over_ssh, until

from remotejobs import ActionRefused, ActionUnknown, BadInput, ServerProblem
from remotejobs.document import document, job_text
from remotejobs.settings import create, work_hash

WRAPPER = Path(__file__).parents[2] / "remotejobs" / "wrapper.sh"


def settings(**changes: Any) -> dict[str, Any]:
    asked = {"command": "run", "arguments": [], "before": "", "environment": {}} | changes
    return create(asked.pop("local_path", None), asked.pop("remote_path", None), after="", **asked)


def test_equal_work_has_the_same_hash_for_ever() -> None:
    work = settings(
        command="./script",
        arguments=["ä", "2"],
        before="module load x",
        environment={"B": "2", "A": "1"},
        remote_path="~/w",
    )
    assert work_hash(work) == "e3a2abe0456f83a2a9b391c38d5dec66"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"walltime": 60, "memory": "4G", "partition": "p"}, True),
        ({"name": "another"}, True),
        ({"scheduler": "slurm"}, True),
        ({"environment": {"A": "1"}}, False),
        ({"arguments": ["x"]}, False),
        ({"before": "module load y"}, False),
        ({"remote_path": "elsewhere"}, False),
    ],
)
def test_resources_are_no_part_of_the_work(change: dict[str, Any], same: bool) -> None:
    assert (work_hash(settings(**change)) == work_hash(settings())) is same


def test_the_copied_files_are_part_of_the_work(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = work_hash(settings(local_path=str(tmp_path), remote_path="x"))
    os.utime(tmp_path / "a", (1, 1))
    assert work_hash(settings(local_path=str(tmp_path), remote_path="x")) != before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"command": " "}, "needs a command"),
        ({"scheduler": "pbs"}, "no scheduler 'pbs'"),
        ({"environment": {"A B": "1"}}, "environment variable"),
        ({"local_path": "/does/not/exist", "remote_path": "x"}, "not a folder here"),
        ({"shell": "bash; rm -rf /"}, "cannot be a job's shell"),
        ({"walltime": "soon"}, "walltime"),
        ({"memory": "much"}, "memory"),
        ({"nodes": 3}, "There is no option 'nodes'"),
        ({"command": "./run.sh"}, "say where it lies"),
        ({"name": "two\nlines"}, "one line"),
        ({"arguments": ["a\0b"]}, "NUL"),
        ({"arguments": ["\ud800"]}, "cannot be written down"),
    ],
)
def test_what_cannot_be_a_job_is_refused_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        settings(**change)


def test_the_record_has_one_member_per_line_for_the_shell_that_reads_it() -> None:
    lines = document(
        settings(scheduler="process", environment={"script": "evil"}, before="a\nb")
    ).splitlines()
    assert lines[0] == "{"
    assert lines[-1] == "}"
    assert [line for line in lines if line.startswith('"script": ')] == ['"script": null,']


@pytest.mark.parametrize("command", ["'./a\"b'", "'./a b'", '"./it\'s"', "./plain"])
def test_the_kept_copy_runs_whatever_quotes_are_in_its_name(tmp_path: Path, command: str) -> None:
    asked = settings(command=command, arguments=["x y"], remote_path="w") | {"script": "#!/bin/sh\n"}
    kept = tmp_path / "command"
    kept.write_text('#!/bin/sh\necho "ran $1"\n')
    kept.chmod(0o700)
    script = f"remotejobs_run={tmp_path}\n{job_text(asked, {})}remotejobs_command\n"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    name = shlex.split(command)[0]
    assert (done.stdout, done.returncode) == ("ran x y\n", 0)
    assert done.stderr == f"remotejobs: {name} is not there as it was submitted; the kept copy runs.\n"


def test_a_record_that_no_server_would_read_again_is_refused() -> None:
    """The probe takes files of up to 1 MiB; the server adds some lines of its own to this one."""
    work: dict[str, Any] = {"scheduler": "process", "remote_path": "w"}
    rest = len(document(settings(**work, arguments=[""])).encode())
    most = (1_000_000 - rest) // 2  # an argument stands in its list, and in the text of the job
    for character in ("x", "é"):
        fits = most // len(character.encode())
        document(settings(**work, arguments=[character * (fits - 10)]))
        with pytest.raises(BadInput, match=r"1000000 bytes.*file"):
            document(settings(**work, arguments=[character * (fits + 10)]))


HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"$HOME"',
    "a b\tc",
    "-n",
    "*",
    "\\",
    "ünï",
    "a\nb",
    "&&",
    "!x",
]


def test_every_word_of_a_person_reaches_the_program_as_it_was_written(machine: Machine) -> None:
    jobs = machine.submitter()
    command = jobs.create_settings(
        None,
        None,
        "printf '%s\\0'",
        HOSTILE,
        "",
        "",
        {"HOSTILE": "".join(HOSTILE)},
        scheduler=machine.scheduler,
    )
    submitted = jobs.submit_job(command)
    until(jobs, submitted["jobid"], lambda state: state["status"] == jobs.STATUS_FINISHED)
    run = machine.registry() / "runs" / submitted["jobid"]
    assert (run / "stdout").read_text().split("\0") == [*HOSTILE, ""]
    assert not list(machine.home.rglob("pwned"))
    assert jobs.check_state(*key(submitted), False)["arguments"] == HOSTILE


@pytest.mark.parametrize(
    ("command", "code", "status"),
    [
        ("exit 3", 3, "failed"),
        ("A=1 true", 0, "done"),
        ("kill -TERM $$", 143, "failed"),
        ("true; false", 1, "failed"),
        ("false | true", 0, "done"),
        ("/does/not/exist", 127, "failed"),
    ],
)
def test_the_programs_exit_code_is_the_jobs(machine: Machine, command: str, code: int, status: str) -> None:
    jobs = machine.submitter()
    made = jobs.create_settings(None, None, command, [], "false", "false", {}, scheduler=machine.scheduler)
    submitted = jobs.submit_job(made)
    state = until(jobs, submitted["jobid"], lambda state: state["exit_code"] is not None and state["ended"])
    assert (state["exit_code"], state["status"]) == (code, status)


def test_a_mistake_in_the_lines_before_does_not_hide_the_outcome(machine: Machine) -> None:
    jobs = machine.submitter()
    made = jobs.create_settings(None, None, "true", [], "if then (", "", {}, scheduler=machine.scheduler)
    submitted = jobs.submit_job(made)
    state = until(jobs, submitted["jobid"], lambda state: state["ended"] is not None)
    assert state["status"] in ("done", "failed")


def test_the_kept_script_runs_again_when_the_file_has_changed(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text('#!/bin/sh\n# über\necho first \\\\ "$1"\n')
    (tmp_path / "run.sh").chmod(0o755)
    jobs = machine.submitter()
    made = jobs.create_settings(
        str(tmp_path), str(machine.home / "w"), "./run.sh", ["it's"], scheduler=machine.scheduler
    )
    first = jobs.submit_job(made)
    until(jobs, first["jobid"], lambda state: state["status"] == "done")
    (machine.home / "w" / "run.sh").write_text("#!/bin/sh\necho second\n")
    hash_, n = jobs.resubmit_job(*key(first))
    until(jobs, f"{hash_}_{n}", lambda state: state["status"] == "done")
    run = machine.registry() / "runs" / f"{hash_}_{n}"
    assert (run / "stdout").read_text() == "first \\ it's\n"
    assert "kept copy" in (run / "stderr").read_text()
    again = jobs.check_state(hash_, n, False)
    assert again["again_of"] == first["jobid"]
    assert again["script"] == (tmp_path / "run.sh").read_text()


def test_a_script_that_lies_on_the_server_is_kept_as_well(machine: Machine) -> None:
    work = machine.home / "there"
    work.mkdir(mode=0o755)
    (work / "go").write_text("#!/bin/sh\necho there\n")
    (work / "go").chmod(0o755)
    jobs = machine.submitter()
    submitted = jobs.submit_job(jobs.create_settings(None, "~/there", "./go", scheduler=machine.scheduler))
    state = until(jobs, submitted["jobid"], lambda state: state["status"] == "done")
    assert state["script"] == "#!/bin/sh\necho there\n"
    assert (machine.registry() / "runs" / submitted["jobid"] / "stdout").read_text() == "there\n"


def test_directives_of_a_script_hold_and_explicit_options_win(slurm_cluster: Machine, tmp_path: Path) -> None:
    script = "#!/bin/bash\n#SBATCH --comment='kept word'\n#SBATCH --time=7\n#SBATCH -o own-%x.out\n\ntrue\n#SBATCH --time=9\n"
    (tmp_path / "run.sh").write_text(script)
    (tmp_path / "run.sh").chmod(0o755)
    jobs = slurm_cluster.submitter()
    made = jobs.create_settings(
        str(tmp_path), "~/w", "./run.sh", walltime="00:02:00", name="own-name", scheduler="auto"
    )
    submitted = jobs.submit_job(made)
    assert submitted["scheduler"] == "slurm"
    until(jobs, submitted["jobid"], lambda state: state["status"] == "done")
    run = slurm_cluster.registry() / "runs" / submitted["jobid"]
    assert (run / "own-own-name.out").exists(), [path.name for path in run.iterdir()]
    head = (run / "script").read_text().splitlines()
    lines = [line for line in head if line.startswith("#SBATCH")]
    assert "#SBATCH --comment='kept word'" in lines
    assert [line for line in lines if "--time" in line] == ["#SBATCH --time=7", "#SBATCH --time=0-00:02:00"]


def test_a_signal_before_the_walltime_reaches_the_program(cluster: Machine) -> None:
    jobs = cluster.submitter()
    program = "python3 -c 'import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))"
    program += "; print(1, flush=True); time.sleep(60)'"
    submitted = jobs.submit_job(jobs.create_settings(None, None, program, scheduler="slurm"))
    run = cluster.registry() / "runs" / submitted["jobid"]
    until(
        jobs,
        submitted["jobid"],
        lambda _: (run / "stdout").exists() and (run / "stdout").read_text() == "1\n",
    )
    start = (cluster.registry() / "facts" / f"{submitted['jobid']}.start.1").read_text()
    (pid,) = (int(line.partition("=")[2]) for line in start.splitlines() if line.startswith("pid="))
    os.kill(pid, signal.SIGUSR1)  # as `--signal=B:USR1@60` does: to the script's shell alone
    state = until(jobs, submitted["jobid"], lambda state: state["ended"] and state["exit_code"] is not None)
    assert state["exit_code"] == 7


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_program_that_ends_at_a_signal_keeps_its_exit_code(tmp_path: Path, shell: str) -> None:
    """The wrapper's shell is woken by the same signal, at about the same moment."""
    run = tmp_path / "runs" / "key"
    run.mkdir(parents=True)
    (tmp_path / "facts").mkdir()
    program = "import os, signal, time; signal.signal(signal.SIGUSR1, lambda *_: os._exit(7)); "
    program += "print(1, flush=True); time.sleep(9)"
    script = run / "script"
    script.write_text(
        f"remotejobs_run={run}\nremotejobs_id=1\nremotejobs_attempt=1\n{WRAPPER.read_text()}\n"
        "remotejobs_place() { :; }\nremotejobs_before() { :; }\nremotejobs_after() { :; }\n"
        f"remotejobs_command() {{ exec {sys.executable} -c '{program}'; }}\nremotejobs_main\n"
    )
    for _round in range(12):
        job = subprocess.Popen([shell, str(script)], stdout=subprocess.PIPE)
        assert job.stdout
        job.stdout.readline()
        job.send_signal(signal.SIGUSR1)
        assert job.wait(10) == 7
        job.stdout.close()


def test_a_job_inherits_the_persons_umask_and_time_zone(machine: Machine) -> None:
    jobs = machine.submitter()
    made = jobs.create_settings(
        None, None, "umask; echo ${TZ-none}", [], "", "", {}, scheduler=machine.scheduler, shell="/bin/sh"
    )
    submitted = jobs.submit_job(made)
    until(jobs, submitted["jobid"], lambda state: state["status"] == "done")
    said = (machine.registry() / "runs" / submitted["jobid"] / "stdout").read_text().split()
    assert said == [
        "0022",
        os.environ.get("TZ", "none")
        if machine.scheduler == "process" and machine.home == Path.home()
        else "none",
    ]


def test_the_same_action_twice_is_one_job(machine: Machine) -> None:
    jobs, token = machine.submitter(), str(uuid.uuid4())
    made = jobs.create_settings(None, None, "sleep 1", scheduler=machine.scheduler)
    first = jobs.submit_job(dict(made), action=token)
    second = jobs.submit_job(dict(made), action=token)
    assert (first["jobid"], first["scheduler_id"]) == (second["jobid"], second["scheduler_id"])
    assert jobs.settings.list_keys() == [first["jobid"]]


def test_an_action_belongs_to_the_work_that_it_was_given_to(server: Machine) -> None:
    jobs, token = server.submitter(), str(uuid.uuid4())
    jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="process"), action=token)
    with pytest.raises(ActionRefused, match="other work"):
        jobs.submit_job(jobs.create_settings(None, None, "false", scheduler="process"), action=token)
    with pytest.raises(BadInput, match="is not an action"):
        jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="process"), action="tomorrow")
    assert len(jobs.settings.list_keys()) == 1


def test_overlapping_tries_of_one_action_run_once(server: Machine, request: pytest.FixtureRequest) -> None:
    """The remote shell of a killed client lives on: two probes of one action at the same moment."""
    sshd = request.getfixturevalue("sshd")
    user = server.home.owner()
    token = str(uuid.uuid4())
    shells = [over_ssh(sshd, user) for _ in range(4)]

    def submit(shell: Any) -> str:
        jobs = Machine(shell, server.home, "process").submitter()
        return jobs.submit_job(
            jobs.create_settings(None, None, "echo ran >> ~/runs-of-it", scheduler="process"), action=token
        )["jobid"]

    with ThreadPoolExecutor(4) as pool:
        keys = set(pool.map(submit, shells))
    assert len(keys) == 1
    jobs = server.submitter()
    until(jobs, keys.pop(), lambda state: state["status"] == "done")
    assert (server.home / "runs-of-it").read_text() == "ran\n"
    for shell in shells:
        shell.close()


def test_a_number_is_never_used_twice_also_after_cleaning(server: Machine) -> None:
    jobs = server.submitter()
    made = jobs.create_settings(None, None, "true", scheduler="process")
    numbers = []
    for _ in range(3):
        hash_, n = key(jobs.submit_job(dict(made)))
        until(jobs, f"{hash_}_{n}", lambda state: state["status"] == "done")
        jobs.check_state(hash_, n)
        numbers.append(n)
    assert numbers == [1, 2, 3]


def test_a_stray_name_does_not_use_up_the_numbers(server: Machine) -> None:
    jobs = server.submitter()
    made = jobs.create_settings(None, None, "true", scheduler="process")
    hash_, _ = key(jobs.submit_job(dict(made)))
    (server.registry() / "settings" / f"{hash_}_9999999.json").write_text("{}")
    (server.registry() / "runs" / f"{hash_}_999999 x").mkdir()
    assert key(jobs.submit_job(dict(made))) == (hash_, 2)


def test_a_number_that_another_job_has_used_up_meanwhile_is_not_given_again(server: Machine) -> None:
    """It was free when it was looked up; when it is claimed, its job has run, was cleaned and pruned: its list alone tells."""
    jobs, steps = server.submitter(), Steps(server.home)
    made = jobs.create_settings(None, None, "true", scheduler="process")
    hash_, _ = key(jobs.submit_job(dict(made)))
    steps.arm(f"mkdir runs/{hash_}_2", "before", f"echo {hash_}_2 >sealed/meanwhile.names")
    assert key(jobs.submit_job(dict(made))) == (hash_, 3)
    assert steps.is_struck
    assert not (server.registry() / "runs" / f"{hash_}_2").exists()


def test_nothing_is_numbered_while_the_sealed_numbers_cannot_be_read(server: Machine) -> None:
    jobs = server.submitter()
    made = jobs.create_settings(None, None, "true", scheduler="process")
    jobs.submit_job(dict(made))
    (server.registry() / "sealed").chmod(0)
    with pytest.raises(ActionUnknown):
        jobs.submit_job(dict(made))
    (server.registry() / "sealed").chmod(0o700)
    assert key(jobs.submit_job(dict(made)))[1] == 2


def test_the_schedulers_refusal_is_told_in_its_words(cluster: Machine) -> None:
    jobs = cluster.submitter()
    with pytest.raises(ActionRefused, match=r"^Slurm refused the job: .*partition"):
        jobs.submit_job(jobs.create_settings(None, None, "true", partition="nowhere", scheduler="slurm"))


def test_a_refused_submission_is_no_job(cluster: Machine) -> None:
    jobs = cluster.submitter()
    refused = jobs.create_settings(None, None, "true", partition="nowhere", scheduler="slurm")
    token = str(uuid.uuid4())
    for _again in range(2):
        with pytest.raises(ActionRefused):
            jobs.submit_job(dict(refused), action=token)
    assert jobs.settings.list_keys() == []
    allowed = jobs.create_settings(None, None, "true", scheduler="slurm")
    assert jobs.submit_job(allowed)["jobid"].endswith("_2"), "the number of the refused one stays used"


def test_auto_does_not_load_a_login_node(server: Machine) -> None:
    jobs = Machine(WithoutSlurm(server.shell, server.home), server.home, "").submitter()  # type: ignore[arg-type]
    with pytest.raises(ServerProblem, match="name the scheduler: process"):
        jobs.submit_job(jobs.create_settings(None, None, "true"))


class WithoutSlurm:
    """The same server, as if Slurm's commands were not installed."""

    def __init__(self, shell: Any, home: Path) -> None:
        self._shell, self._bin = shell, home / "bin"
        self._bin.mkdir(mode=0o755)
        for name in os.listdir("/usr/bin"):
            if name not in ("sbatch", "squeue", "scontrol"):
                (self._bin / name).symlink_to(f"/usr/bin/{name}")

    def run(self, command: str, *arguments: Any, **options: Any) -> Any:
        return self._shell.run(
            f"PATH={self._bin} SHELL=/bin/false; export PATH SHELL; {command}", *arguments, **options
        )

    def __str__(self) -> str:
        return str(self._shell)


def test_a_process_cannot_be_held_to_a_walltime(server: Machine) -> None:
    jobs = server.submitter()
    with pytest.raises(BadInput, match="walltime"):
        jobs.submit_job(jobs.create_settings(None, None, "true", walltime=60, scheduler="process"))


def key(submitted: dict[str, Any]) -> tuple[str, int]:
    hash_, n = submitted["jobid"].rsplit("_", 1)
    return hash_, int(n)

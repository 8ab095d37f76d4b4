"""The kept script once more, with other resources: on the server the record says so, and nothing else in it changes."""

import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from library.machines import Machine, until
from library.slurm_shell import AWKS, SHELLS

from remotejobs import ActionRefused, BadInput, NoSuchJob
from remotejobs.document import document
from remotejobs.records import JobKey
from remotejobs.schedulers import sbatch
from remotejobs.settings import changes, create

ROOT = Path(__file__).parents[2] / "remotejobs"
_PROGRAM = "\n".join(
    [
        "KINDS='slurm process'; NL='\n'; set -f",
        *((ROOT / "schedulers" / f"{name}.sh").read_text() for name in ("slurm", "process")),
        *((ROOT / "probe" / f"{name}.sh").read_text() for name in ("again",)),
        (ROOT / "probe" / "registry.sh")
        .read_text()
        .partition("# ---- the words")[2]
        .partition("# ---- the registry")[0],
        'document=$(cat); changed "$@" && printf "%s\\n" "$document"',
    ]
)


def record(**asked: Any) -> str:
    return document(create(None, None, "run", [], "", "", {}, **asked))


def changed(
    text: str, *words: str, kind: str = "slurm", shell: list[str] | None = None, path: Path | None = None
) -> str | None:
    """The record as the server would write it; None where it refuses."""
    done = subprocess.run(
        [*(shell or ["sh"]), "-c", _PROGRAM, "sh", kind, *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{path}:/usr/bin:/bin" if path else "/usr/bin:/bin", "LC_ALL": "C"},
    )
    return done.stdout if done.returncode == 0 else None


ASKED = {
    "name": 'a "name", with: {signs}',
    "scheduler": "slurm",
    "walltime": 60,
    "memory": "1G",
    "cores": 1,
    "partition": "low",
    "extra": ['--comment="walltime": 7', "--comment=a\\nb,[c]", "--exclusive"],
    "gpus": 2,
}
MORE = {"walltime": "2-03:04:05", "memory": "16G", "cores": 8, "partition": "main,low"}


@pytest.mark.parametrize("awk", AWKS)
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_the_record_is_the_one_that_python_would_have_written(
    shell: list[str], awk: str, tmp_path: Path
) -> None:
    (tmp_path / "awk").symlink_to(str(shutil.which(awk)))
    text = changed(record(**ASKED), *changes(**MORE), shell=shell, path=tmp_path)
    assert text is not None
    there, here = json.loads(text), json.loads(record(**ASKED | MORE))
    assert there["options"] == here["options"]
    assert sorted(there["header"].splitlines()) == sorted(here["header"].splitlines())
    assert {**there, "options": 0, "header": 0} == {**here, "options": 0, "header": 0}


@pytest.mark.parametrize("more", [{name: value} for name, value in MORE.items()], ids=list(MORE))
def test_one_that_is_changed_comes_last_and_the_rest_stays(more: dict[str, Any]) -> None:
    text = changed(record(scheduler="slurm", extra=["--time=5"]), *changes(**more))
    assert text is not None
    assert (
        json.loads(text)["options"]
        == {"extra": ["--time=5"]} | json.loads(record(scheduler="slurm", **more))["options"]
    )
    lines = json.loads(text)["header"].splitlines()
    asked = create(None, None, "run", [], "", "", {}, **more)["options"]
    assert lines[-len(sbatch.header(asked, "")) :] == sbatch.header(asked, "")


def test_changing_it_again_and_again_does_not_make_it_longer() -> None:
    text = record(**ASKED)
    for seconds in (100, 200, 300):
        text = changed(text, f"walltime={seconds}") or ""
    once = changed(record(**ASKED), "walltime=300")
    assert text == once


@pytest.mark.parametrize(
    "word",
    [
        *("gpus=4", "account=other", "extra=--wrap=id", "command=id", "header=x", "walltime", "=5", ""),
        *(
            "walltime=0",
            "walltime=-1",
            "walltime=1e9",
            "walltime=$(id)",
            "walltime=99999999999",
            "cores=1 2",
            "memory=1;id",
        ),
        *(
            "partition=",
            "partition=--wrap=id",
            "partition=a b",
            "partition=a\n#SBATCH --wrap=id",
            'partition="',
            "partition=a`id`",
        ),
        *(
            f"partition={'a' * 201}",
            "partition=a\\nb",
            "partition=a'b",
            "cores=0x10",
            "partition=a`id`",
            "cores=１",
        ),
    ],
)
def test_the_server_itself_refuses_any_other_word(word: str) -> None:
    assert changed(record(**ASKED), word) is None
    assert changed(record(**ASKED), "walltime=60", word) is None


@pytest.mark.parametrize(
    "text",
    [
        '{\n"options": {},\n"scheduler": "slurm"\n}\n',
        '{\n"header": "",\n"header": "",\n"options": {}\n}\n',
        '{\n"header": "",\n"options": null\n}\n',
    ],
)
def test_a_record_in_which_it_cannot_be_said_is_refused(text: str) -> None:
    assert changed(text, "walltime=60") is None


def test_nobody_holds_a_process_to_what_it_was_given() -> None:
    assert changed(record(scheduler="process"), "walltime=60", kind="process") is None


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"gpus": 1}, "gpus cannot be changed"),
        ({"walltime": "soon"}, "walltime"),
        ({"memory": 0}, "memory is 0"),
        ({"cores": 10**7}, "cores"),
        ({"partition": "a b"}, "partition"),
    ],
)
def test_what_cannot_be_changed_is_refused_in_a_sentence(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        changes(**asked)


def test_a_job_runs_again_with_more(slurm_cluster: Machine) -> None:
    jobs = slurm_cluster.submitter()
    script = 'echo "$SLURM_JOB_PARTITION $SLURM_CPUS_PER_TASK $SLURM_MEM_PER_NODE"; squeue -h -j "$SLURM_JOB_ID" -o %l'
    asked = jobs.create_settings(
        None, None, "sh", ["-c", script], scheduler="slurm", walltime=60, cores=1, extra=["--mem-per-cpu=100"]
    )
    key = jobs.submit_job(asked)["jobid"]
    hash_, n = key.rsplit("_", 1)
    again = "_".join(
        map(
            str,
            jobs.resubmit_job(hash_, int(n), walltime="00:02:00", cores=2, memory="300M", partition="low"),
        )
    )
    assert again == f"{hash_}_{int(n) + 1}"
    until(jobs, again, lambda state: state["status"] == "done")
    assert jobs.read_log(*_parts(again)).text == "low 2 300\n2:00\n"
    record_, _ = jobs.settings.look_up(JobKey.parse(again))
    assert record_.settings["options"] == asked["options"] | {
        "walltime": 120,
        "cores": 2,
        "memory": 300,
        "partition": "low",
    }


def test_a_process_is_not_run_again_with_what_nobody_holds_it_to(server: Machine) -> None:
    jobs = server.submitter()
    key = jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="process"))["jobid"]
    with pytest.raises(ActionRefused, match="cannot have another walltime"):
        jobs.resubmit_job(*_parts(key), walltime=60)
    assert len(jobs.settings.list_keys()) == 1


def _parts(key: str) -> tuple[str, int]:
    return key.rpartition("_")[0], int(key.rpartition("_")[2])


def test_a_run_that_was_begun_is_not_refused_when_its_first_record_is_pruned_before_that_was_heard(
    server: Machine,
) -> None:
    jobs, action = server.submitter(), str(uuid.uuid4())
    key = str(jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="process"))["jobid"])
    until(jobs, key, lambda state: state["status"] == "done")
    again = jobs.resubmit_job(*_parts(key), action=action)
    for path in server.registry().glob(f"*/{key}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert jobs.resubmit_job(*_parts(key), action=action) == again
    with pytest.raises(NoSuchJob):
        jobs.resubmit_job(*_parts(key))

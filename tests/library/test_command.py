"""The remotejobs command, as a person at a shell meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.parts import wait_until
from cluster.sshd import Sshd

from remotejobs.command import main

ROOT = Path(__file__).parents[2]
START = [sys.executable, "-c", "from remotejobs.command import main; main(prog_name='remotejobs')"]


def run(*arguments: str, stdin: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*START, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_job_is_submitted_listed_cancelled_and_run_again(home: Path) -> None:
    submitted = run(
        "submit",
        "--scheduler",
        "process",
        "--name",
        "hello",
        "--env",
        "A=1",
        "--",
        "sh",
        "-c",
        "echo $A; sleep 60",
    )
    assert submitted.returncode == 0, submitted.stderr
    key = submitted.stdout.strip()
    assert "Submitted to process" in submitted.stderr
    listed = run("list").stdout
    assert f"{key}  running" in listed and "(says the queue)" in listed
    assert run("cancel", key).stdout == "Cancelled.\n"
    assert "as you asked)" in run("state", key).stdout
    state = json.loads(run("state", "--json", key).stdout)
    assert (state["status"], state["name"], state["reason"]) == ("cancelled", "hello", "by_user")
    again = run("resubmit", key).stdout.strip()
    assert again == key.rpartition("_")[0] + "_2"
    wait_until(
        lambda: (home / ".remoteJobs-vistrails" / "runs" / again / "stdout").read_text() == "1\n",
        "its output",
    )
    assert run("cancel", again).returncode == 0


def test_on_this_machine_a_job_runs_where_it_was_submitted(tmp_path: Path) -> None:
    (tmp_path / "go.sh").write_text("#!/bin/sh\npwd > here\n")
    (tmp_path / "go.sh").chmod(0o755)
    submitted = run("submit", "--scheduler", "process", "./go.sh", folder=tmp_path)
    assert submitted.returncode == 0, submitted.stderr
    here = tmp_path / "here"
    wait_until(lambda: here.exists() and here.read_text() == f"{tmp_path}\n", "its output")


def test_it_works_over_ssh_with_a_password_from_standard_input(sshd: Sshd, home: Path) -> None:
    account = sshd.account()
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "known_hosts").write_text(sshd.known_hosts.read_text())
    there = ["--server", f"{account.user}@{sshd.host}:{sshd.port}", "--password-stdin"]
    submitted = run(*there, "submit", "--scheduler", "process", "true", stdin=account.password + "\n")
    assert submitted.returncode == 0, submitted.stderr
    listed = run(*there, "list", "--json", stdin=account.password + "\n")
    assert json.loads(listed.stdout)["jobid"] == submitted.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["state", "nonsense"], 2, "is not a job key"),
        (["state", "0" * 32 + "_1"], 2, "There is no job"),
        (["--app", "../etc", "list"], 2, "cannot be the name of an app"),
        (["--server", "a b", "list"], 2, "is not a server"),
        (["--server", "me@127.0.0.1:1", "list"], 4, "Connection refused"),
        (["submit", "--memory", "much", "true"], 2, "give megabytes"),
        (["submit", "--env", "NOVALUE", "true"], 2, "is not NAME=VALUE"),
        (["submit", "--from", "/does/not/exist", "--in", "x", "true"], 2, "is not a folder here"),
        (["nothing"], 2, "No such command"),
    ],
)
def test_bad_input_is_a_sentence_and_an_exit_code(arguments: list[str], code: int, sentence: str) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_refused_login_and_an_unknown_host_key_exit_3(sshd: Sshd, home: Path) -> None:
    there = ["--server", f"{sshd.user}@{sshd.host}:{sshd.port}"]
    unknown = run(*there, "list")
    assert (unknown.returncode, "SHA256:" in unknown.stderr) == (3, True)
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "known_hosts").write_text(sshd.known_hosts.read_text())
    refused = run(*there, "--password-stdin", "list", stdin="wrong\n")
    assert refused.returncode == 3
    assert "wrong" not in refused.stderr


def test_a_jobs_name_sends_nothing_to_the_terminal() -> None:
    run("submit", "--scheduler", "process", "--name", "red\x1b[31m\u202egnp", "true")
    listed = run("list").stdout
    assert "\x1b" not in listed
    assert "\u202e" not in listed


def test_every_command_has_help() -> None:
    for name, command in main.commands.items():
        assert command.help, name
        assert run(name, "--help").returncode == 0

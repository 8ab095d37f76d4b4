"""The interface of the original documentation, on every kind of machine."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cluster.sshd import Sshd
from library.machines import APP, Machine, over_ssh, until

from remotejobs import NoSuchJob, RemoteJobSubmitter
from remotejobs.shell import LocalShell


def test_the_documented_program_runs(machine: Machine, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "script").write_text('#!/bin/bash\necho "$1 $OMP_NUM_THREADS" > result\n')
    (local / "script").chmod(0o755)
    remote = str(machine.home / "work")

    jobs = machine.submitter()
    settings = jobs.create_settings(
        str(local),
        remote,
        "./script",
        ["arg"],
        "true",
        "",
        {"OMP_NUM_THREADS": "4"},
        scheduler=machine.scheduler,
    )
    hash, n, first = jobs.generate_id(settings)
    assert (n, first) == (1, True)
    settings = jobs.submit_job(settings, hash, n)
    hash, n = settings["jobid"].rsplit("_", 1)
    settings = until(jobs, settings["jobid"], lambda state: state["status"] == jobs.STATUS_FINISHED)
    assert settings["exit_code"] == 0
    assert settings["evidence"] in ("accounting", "exit_file", "queue")
    assert abs(settings["updated"] - datetime.now(UTC)) < timedelta(minutes=2)
    assert (machine.home / "work" / "result").read_text() == "arg 4\n"
    assert jobs.settings.list_keys() == [f"{hash}_{n}"]
    assert jobs.generate_id(settings)[1:] == (2, False)

    assert jobs.check_state(hash, int(n))["cleaned"]
    assert not (machine.registry() / "runs" / f"{hash}_{n}").exists()
    assert (machine.home / "work" / "result").exists()
    hash2, n2 = jobs.resubmit_job(hash, int(n))
    assert (hash2, n2) == (hash, 2)
    until(jobs, f"{hash2}_{n2}", lambda state: state["status"] == jobs.STATUS_FINISHED)


def test_a_server_name_is_enough_where_ssh_config_knows_it(sshd: Sshd, home: Path) -> None:
    account = sshd.account()
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "known_hosts").write_text(sshd.known_hosts.read_text())
    (folder / "config").write_text(
        f"Host alps\n  HostName {sshd.host}\n  Port {sshd.port}\n  User {account.user}\n  IdentityFile {sshd.key}\n"
    )
    with RemoteJobSubmitter(APP, "alps") as jobs:
        assert jobs.settings.list_keys() == []
    with RemoteJobSubmitter(APP, sshd.host, account.user, account.password, port=sshd.port) as jobs:
        assert jobs.settings.list_keys() == []


def test_without_a_server_it_is_this_machine_and_the_rest_is_ignored() -> None:
    jobs = RemoteJobSubmitter(APP, None, "nobody", "no password", port=1)
    assert isinstance(jobs.settings.shell, LocalShell)
    assert jobs.settings.list_keys() == []


def test_the_documented_loop_is_one_connection_and_two_commands(sshd: Sshd) -> None:
    account = sshd.account()
    shell = over_ssh(sshd, account.user)
    jobs = RemoteJobSubmitter(APP, shell=shell)
    for number in range(5):
        jobs.submit_job(jobs.create_settings(None, None, "true", [str(number)], scheduler="process"))
    shell.close()
    with sshd.counting() as counted:
        for key in jobs.settings.list_keys():
            hash, n = key.rsplit("_", 1)
            state = jobs.check_state(hash, int(n), False)
            assert state["jobid"] == key
    assert (counted.connections, counted.execs) == (1, 1)
    with sshd.counting() as counted:
        jobs.check_state(hash, int(n), False)
    assert (counted.connections, counted.execs) == (0, 1), "asked again, it asks the server again"
    shell.close()


def test_an_answer_that_is_too_old_is_not_handed_out(server: Machine) -> None:
    jobs = server.submitter()
    submitted = jobs.submit_job(jobs.create_settings(None, None, "true", scheduler="process"))
    jobs.settings.answers_for = 0.0
    (key,) = jobs.settings.list_keys()
    before = server.shell.execs
    assert jobs.check_state(*_parts(key), False)["jobid"] == submitted["jobid"]
    assert server.shell.execs == before + 1


def test_a_key_that_was_never_submitted_is_no_job(machine: Machine) -> None:
    with pytest.raises(NoSuchJob, match="There is no job"):
        machine.submitter().check_state("0" * 32, 1, False)


def test_looking_makes_no_folder_on_the_server(machine: Machine) -> None:
    jobs = machine.submitter()
    assert jobs.settings.list_keys() == []
    assert jobs.generate_id(jobs.create_settings(None, None, "true"))[1:] == (1, True)
    assert not machine.registry().exists()


def _parts(key: str) -> tuple[str, int]:
    hash_, n = key.rsplit("_", 1)
    return hash_, int(n)

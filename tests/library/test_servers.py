"""Servers as they are: odd shells, noisy login files, no home, no room. Each gets a sentence, and nothing is lost."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cluster.parts import mounted, need, wait_until
from cluster.sshd import Sshd
from library.machines import Elsewhere, Machine, over_ssh, until
from library.registries import APP, Folder, key_of, listing

from remotejobs import ActionRefused, ActionUnknown, BadInput, RemoteJobsError, ServerProblem
from remotejobs.cursor import NOTHING_LIVE, Cursor
from remotejobs.errors import AnswerBroken
from remotejobs.exchange import Request, SourceRequest, exchange


def submit(jobs: Any, command: str = "true") -> str:
    return str(jobs.submit_job(jobs.create_settings(None, None, command, scheduler="process"))["jobid"])


def works(machine: Machine) -> None:
    """A job can be submitted, seen, and seen to end, also by one who knows of no job there."""
    jobs = machine.submitter()
    jobid = submit(jobs, "exit 5")
    assert until(jobs, jobid, lambda state: state["ended"])["exit_code"] == 5
    assert jobs.settings.list_keys() == [jobid]
    assert unexpected(machine.shell) == {jobid}


def unexpected(shell: Any) -> set[str]:
    """The jobs that come where nothing was live, so that nothing new was expected."""
    answer = exchange(shell, Request([SourceRequest(APP, str(Cursor(NOTHING_LIVE)))]))
    found = {str(record.key) for chunk in answer.sources[APP].chunks() for record in chunk.records}
    answer.close()
    return found


class Changed:
    """The same server; its command lines are changed by `change` on their way."""

    def __init__(self, shell: Any, change: Callable[[str], str]) -> None:
        self._shell, self._change = shell, change

    def run(self, command: str, *arguments: Any, **options: Any) -> Any:
        changed = self._change(command)
        assert changed != command
        return self._shell.run(changed, *arguments, **options)

    def __str__(self) -> str:
        return str(self._shell)


# ---- shells ----


@pytest.mark.parametrize("login_shell", ["sh", "bash", "tcsh", "fish"])
def test_any_login_shell_will_do(sshd: Sshd, login_shell: str) -> None:
    need(login_shell, login_shell)
    account = sshd.account(shell=shutil.which(login_shell) or "")
    with over_ssh(sshd, account.user) as shell:
        works(Machine(shell, account.home, "process"))


@pytest.mark.parametrize("sh", ["dash", "bash --posix", "busybox sh"])
def test_any_sh_will_do(server: Machine, sh: str) -> None:
    need(sh, sh.split()[0])
    changed = Changed(server.shell, lambda command: command.replace("exec /bin/sh", f"exec {sh}", 1))
    works(Machine(changed, server.home, "process"))  # type: ignore[arg-type]


@pytest.mark.parametrize("tool", ["base64 -d", "gzip -dc"])
def test_a_program_that_did_not_come_whole_says_nothing(server: Machine, tool: str) -> None:
    """Nothing new was expected, and what tells it cannot be unpacked."""
    jobid = submit(server.submitter())
    broken = Changed(server.shell, lambda command: command.replace(tool, "false", 1))
    with pytest.raises(AnswerBroken, match="was cut"):
        unexpected(broken)
    assert unexpected(server.shell) == {jobid}


@pytest.mark.parametrize("tool", ["mawk", "gawk", "busybox"])
def test_any_awk_and_its_companions_will_do(server: Machine, tool: str) -> None:
    need(tool, tool)
    path = server.home / "tools"
    path.mkdir(mode=0o755)
    names = ["awk"]
    if tool == "busybox":
        applets = subprocess.run([tool, "--list"], capture_output=True, text=True, check=True).stdout.split()
        names = [name for name in applets if name not in ("sh", "ash", "bash")]
    for name in names:
        (path / name).symlink_to(shutil.which(tool) or "")
    (server.home / ".bashrc").write_text(f"PATH={path}:$PATH\n")
    works(server)


NOISE = {
    "words": "echo Welcome; echo to >&2",
    "an unfinished line": "printf '\\033]0;title\\007no end of line'",
    "lines like ours": "printf '%s\\n' '0123456789abcdef hello 1 1700000000 evil Linux' '0123456789abcdef bye' "
    "'|q|x|' 'closed 0' bye",
    "an endless line": "head -c 3000000 /dev/zero | tr '\\0' x",
    "another way to everything": "export CDPATH=~/elsewhere:/tmp IFS=xyz QUOTING_STYLE=c POSIXLY_CORRECT=1",
    "other tools": "alias ls='ls -l'; ls() { echo forged; }; awk() { echo forged; }; export -f ls awk",
    "some seconds": "shopt -q login_shell || sleep 2",  # not that of the job, which starts after it
}


@pytest.mark.parametrize("kind", NOISE)
def test_what_login_files_print_or_set_is_noise(server: Machine, kind: str) -> None:
    foreign = server.home / "elsewhere" / f".{APP}"
    foreign.mkdir(parents=True)
    (foreign / "mine").write_text("x")
    before = listing(foreign)
    for name in (".bashrc", ".profile", ".bash_profile"):
        (server.home / name).write_text(NOISE[kind] + "\n")
    works(server)
    assert listing(foreign) == before


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("exit 0", "did not run our program .*call exit"),
        ("echo 'Closed for today' >&2; exit 3", "exit status 3.*Closed for today"),
        ("cat >/dev/null", "did not get the whole request.*standard input"),
        ("kill -9 $$", "broke before it answered"),
    ],
)
def test_a_login_that_never_gets_to_us_says_so(server: Machine, line: str, sentence: str) -> None:
    (server.home / ".bashrc").write_text(line + "\n")
    with pytest.raises(AnswerBroken, match=sentence):
        server.submitter().settings.list_keys()


def test_an_account_without_a_shell_says_so(sshd: Sshd) -> None:
    account = sshd.account("/usr/sbin/nologin")
    with over_ssh(sshd, account.user) as shell, pytest.raises(AnswerBroken, match="login shell"):
        Machine(shell, account.home, "process").submitter().settings.list_keys()


def test_what_is_no_linux_is_told_so(server: Machine) -> None:
    """Without Linux's /proc, with another uname: as the probe sees such a machine."""
    need("unshare", "unshare", root=True)
    user = server.home.owner()
    fake = server.home / "fake"
    fake.mkdir(mode=0o755)
    (fake / "uname").write_text("#!/bin/sh\n[ $1 = -s ] && echo FreeBSD || echo bsd1\n")
    (fake / "uname").chmod(0o755)
    jobs = Machine(Elsewhere(user, server.home, "mount -t tmpfs none /proc"), server.home, "process")  # type: ignore[arg-type]
    with pytest.raises(ServerProblem, match="does not run Linux"):
        jobs.submitter().settings.list_keys()
    with pytest.raises(ServerProblem, match="does not run Linux"):
        submit(jobs.submitter())
    assert not server.registry().exists()


# ---- the home and the registry ----


def test_no_home_directory_is_told(sshd: Sshd) -> None:
    account = sshd.account()
    shutil.rmtree(account.home)
    from remotejobs.destination import Destination
    from remotejobs.shell import SSHShell

    where = Destination(sshd.host, sshd.port, account.user)
    with SSHShell(
        where,
        password=account.password,
        allow_agent=False,
        look_for_keys=False,
        known_hosts=[sshd.known_hosts],
    ) as shell:
        jobs = Machine(shell, account.home, "process").submitter()
        with pytest.raises(ServerProblem, match="no home directory"):
            jobs.settings.list_keys()
        with pytest.raises(RemoteJobsError, match="no home directory"):
            submit(jobs)


@pytest.mark.parametrize("line", ["unset HOME", "export HOME=relative", "export HOME=", "export HOME=/root"])
def test_a_home_that_is_none_is_told(server: Machine, line: str) -> None:
    (server.home / ".bashrc").write_text(line + "\n")
    with pytest.raises(ServerProblem, match="no home directory"):
        server.submitter().settings.list_keys()


@pytest.mark.parametrize("app", ["ssh", "config"])
def test_a_folder_of_something_else_is_never_read_nor_written(server: Machine, app: str) -> None:
    folder = server.home / f".{app}"
    folder.mkdir(exist_ok=True)
    (folder / "settings").mkdir()
    (folder / "settings" / f"{key_of(1)}.json").write_text('{"name": "secret"}')
    before = listing(folder)
    jobs = server.submitter(app)
    with pytest.raises(ServerProblem, match="belongs to something else"):
        jobs.settings.list_keys()
    with pytest.raises(ServerProblem, match="belongs to something else"):
        submit(jobs)
    for uuid_action in (lambda: jobs.cancel_job("0" * 32, 1), lambda: jobs.resubmit_job("0" * 32, 1)):
        with pytest.raises(ServerProblem, match="belongs to something else"):
            uuid_action()
    assert listing(folder) == before


def a_file(path: Path) -> None:
    path.write_text("x")


def a_pipe_as_version(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "version", 0o666)


def another_version(text: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "version").write_text(text)

    return make


def a_closed_folder(path: Path) -> None:
    path.mkdir(mode=0o000)


def a_closed_version(path: Path) -> None:
    Folder.make(path.parent)
    (path / "version").chmod(0)


def closed_records(path: Path) -> None:
    Folder.make(path.parent)
    (path / "facts").chmod(0)


def spaces(path: Path) -> None:
    target = path.parent / "with a space"
    target.mkdir()
    path.symlink_to(target)


UNUSABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file": (a_file, "belongs to something else"),
    "a pipe as version": (a_pipe_as_version, "belongs to something else"),
    "a newer version": (another_version("remotejobs 2\n"), "newer version"),
    "a version of another program": (another_version("1.7\n"), "belongs to something else"),
    "a closed folder": (a_closed_folder, "cannot be read"),
    "a closed version": (a_closed_version, "cannot be read"),
    "closed records": (closed_records, "cannot be read"),
    "a link to nowhere": (lambda path: path.symlink_to("/does/not/exist"), "its target"),
    "a link to itself": (lambda path: path.symlink_to(path), "its target"),
    "a path with spaces": (spaces, "spaces"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_registry_that_cannot_be_used_says_why_and_stays_as_it_is(server: Machine, kind: str) -> None:
    make, sentence = UNUSABLE[kind]
    path = server.registry()
    make(path)
    user = server.home.owner()
    subprocess.run(["chown", "-hR", f"{user}:", str(server.home)], check=True)
    before = listing(server.home)
    jobs = server.submitter()
    with pytest.raises(ServerProblem, match=sentence):
        jobs.settings.list_keys()
    with pytest.raises(ServerProblem, match=sentence):
        submit(jobs)
    assert listing(server.home) == before
    # Other apps of this account are none the worse.
    answer = exchange(server.shell, Request([SourceRequest(APP), SourceRequest("other")]))
    assert answer.sources[APP].error and not answer.sources["other"].error


def test_an_empty_folder_is_adopted_by_a_submission_and_by_nothing_else(server: Machine) -> None:
    server.registry().mkdir()
    os.chown(server.registry(), server.home.stat().st_uid, server.home.stat().st_gid)
    assert server.submitter().settings.list_keys() == []
    assert list(server.registry().iterdir()) == []
    works(server)


def test_a_link_to_a_folder_elsewhere_is_the_registry(server: Machine, sshd: Sshd) -> None:
    target = server.home.parent / f"scratch-{server.home.name}"
    target.mkdir(mode=0o700)
    os.chown(target, server.home.stat().st_uid, server.home.stat().st_gid)
    server.registry().symlink_to(target)
    works(server)
    assert (target / "version").is_file() and server.registry().is_symlink()


@pytest.mark.parametrize("app", ["", "../x", "a/b", ".x", "-x", "a b", "x" * 65, "a\nb", "é", "a\0"])
def test_a_bad_app_name_never_leaves_this_machine(app: str) -> None:
    with pytest.raises(BadInput, match="cannot be the name of an app"):
        Machine(None, Path(), "process").submitter(app)  # type: ignore[arg-type]


# ---- room ----


@contextmanager
def small_disk(machine: Machine) -> Iterator[Callable[[], Path]]:
    """The registry on a disk of its own; calling what it gives fills that disk up."""
    path, owner = machine.registry(), machine.home.stat()
    path.mkdir()
    size = f"size=512k,mode=700,uid={owner.st_uid},gid={owner.st_gid}"

    def fill() -> Path:
        big = path / "trash" / "big"
        big.parent.mkdir(exist_ok=True)
        subprocess.run(["dd", "if=/dev/zero", f"of={big}", "bs=4k"], capture_output=True, check=False)
        assert not big.stat().st_size % 4096
        return big

    with mounted(path, "-t", "tmpfs", "-o", size, "small"):
        yield fill


def test_on_a_full_disk_nothing_is_cleaned_away_until_the_trash_has_made_room(server: Machine) -> None:
    with small_disk(server) as fill:
        folder = Folder.make(server.home)
        for number in range(1, 4):
            folder.ended(key_of(number))
        folder.owned_by(server.home.owner())
        names, jobs = folder.names(), server.submitter()
        big = fill()
        with suppress(ServerProblem):
            assert jobs.clean().records == 0
        assert folder.names() == names
        os.utime(big, (1, 1))
        assert jobs.clean().records == 3
        assert folder.names() == set()
        assert len(jobs.check_states([key_of(number) for number in range(1, 4)])) == 3


def test_a_full_disk_is_told_at_submission_and_nothing_is_lost(server: Machine) -> None:
    with small_disk(server) as fill:
        jobs = server.submitter()
        first = submit(jobs)
        until(jobs, first, lambda state: state["status"] == "done")
        big = fill()
        with pytest.raises((ActionRefused, ActionUnknown), match="full"):
            submit(jobs, "echo second")
        assert jobs.settings.list_keys() == [first], "reading goes on"
        big.unlink()
        second = submit(jobs, "echo second")
        until(jobs, second, lambda state: state["status"] == "done")
        assert sorted(jobs.settings.list_keys()) == sorted([first, second])


def test_a_job_that_ends_on_a_full_disk_still_says_how(server: Machine) -> None:
    with small_disk(server) as fill:
        jobs = server.submitter()
        jobid = submit(jobs, "while [ ! -e ~/go ]; do sleep 0.1; done; exit 9")
        run = server.registry() / "runs" / jobid
        wait_until(lambda: (run / ".exit.1").exists(), "the reserved file")
        fill()
        (server.home / "go").touch()
        state = until(jobs, jobid, lambda state: state["ended"])
        assert (state["status"], state["exit_code"]) == ("failed", 9)


def test_a_job_is_cancelled_on_a_full_disk(server: Machine) -> None:
    with small_disk(server) as fill:
        jobs = server.submitter()
        jobid = submit(jobs, "sleep 300")
        run = server.registry() / "runs" / jobid
        wait_until(lambda: (run / ".exit.1").exists(), "the reserved file")
        fill()
        assert jobs.cancel_job(jobid.rsplit("_", 1)[0], 1) == "Cancelled."


def test_a_read_only_home_can_be_read_and_submitting_says_so(server: Machine) -> None:
    jobs = server.submitter()
    jobid = submit(jobs)
    until(jobs, jobid, lambda state: state["status"] == "done")
    with mounted(server.home, "--bind", str(server.home)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(server.home)], check=True)
        assert server.submitter().settings.list_keys() == [jobid]
        with pytest.raises((ActionRefused, ActionUnknown), match="cannot be written to"):
            submit(jobs)
        with pytest.raises(ActionRefused, match="cannot be written to"):
            submit(server.submitter("another-app"))
    assert jobs.settings.list_keys() == [jobid]


class FullTmp(Sshd):
    """An sshd in a mount namespace of its own, whose /tmp is full."""

    command = "/bin/sh"  # Daemon is given the whole command line below

    def start(self) -> None:
        script = self.folder / "sshd-with-a-full-tmp"
        base = self.folder.parent
        self.folder.mkdir(mode=0o755, exist_ok=True)
        script.write_text(
            "#!/bin/sh\n"
            f"exec unshare -m --propagation private /bin/sh -c 'mount --bind {base} /mnt && "
            f"mount -t tmpfs -o size=8k none /tmp && mkdir -p {base} && mount --move /mnt {base} && "
            'chmod 1777 /tmp; head -c 100k </dev/zero >/tmp/x 2>/dev/null; exec /usr/sbin/sshd "$@"\' sh "$@"\n'
        )
        script.chmod(0o755)
        self.command = str(script)
        super().start()


def test_a_full_tmp_stops_nothing(parts_folder: Path) -> None:
    need("sshd", "sshd", "unshare", "setpriv", root=True)
    sshd = FullTmp(parts_folder / "sshd-full-tmp")
    try:
        sshd.start()
        account = sshd.account()
        full = sshd.ssh("echo x >/tmp/y && test -s /tmp/y", user=account.user)
        assert full.returncode != 0, "this /tmp is full"
        with over_ssh(sshd, account.user) as shell:
            works(Machine(shell, account.home, "process"))
    finally:
        sshd.stop()

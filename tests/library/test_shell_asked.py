"""Logins in which a person takes part: one-time codes, passwords, approvals and passphrases, on real sshds with PAM."""

import getpass
import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from cluster.pam_sshd import APPROVAL, CODE, KEY_THEN_QUESTIONS, PASSWORD, Make, PamSshd, pam_servers
from cluster.proxy import Proxy
from cluster.sshd import Sshd, make_key
from library.asking import AskingServer, Somebody, serving
from library.test_command import START
from library.test_shell_faults import leaving_nothing
from web.terminals import Terminal

from remotejobs import Prompt, Target
from remotejobs.authorized import PublicKey
from remotejobs.errors import KeyLocked, LoginRefused, LoginUnanswered, TimedOut, Unreachable
from remotejobs.keyfiles import HeldKey
from remotejobs.shell import SSHShell

CANARY = "canary-9f2c71"


@pytest.fixture(scope="module")
def make(parts_folder: Path) -> Iterator[Make]:
    with pam_servers(parts_folder) as make:
        yield make


def to(server: Sshd, prompter: Somebody | None = None, **options: object) -> SSHShell:
    where = Target(server.host, server.port, server.user)
    options = {"known_hosts": [server.known_hosts], "allow_agent": False, "look_for_keys": False} | options
    return SSHShell(where, prompter=prompter, **options)  # type: ignore[arg-type]


def whoami(shell: SSHShell) -> str:
    with shell.run("id -un") as output:
        return output.stdout.read().decode().strip()


def test_a_password_and_a_code_are_asked_one_after_the_other(make: Make) -> None:
    server = make(PASSWORD + CODE)
    person = Somebody([server.password], [server.code(server.user)])
    with to(server, person) as shell:
        assert whoami(shell) == server.user
        assert whoami(shell) == server.user  # on the same connection: nobody is asked again
    assert person.texts == [["Password:"], [f"One-time password (OATH) for `{server.user}':"]]
    first = person.asked[0]
    assert (first.kind, first.server, first.user) == ("code", f"{server.host}:{server.port}", server.user)
    assert [question.echo for prompt in person.asked for question in prompt.questions] == [False, False]
    assert 100 < first.seconds <= 110
    assert not first.is_further


def test_a_code_after_a_key(make: Make) -> None:
    server = make(CODE, KEY_THEN_QUESTIONS)
    person = Somebody([server.code(server.user)])
    with to(server, person, keys=[server.key]) as shell:
        assert whoami(shell) == server.user
    assert [prompt.is_further for prompt in person.asked] == [True]


def test_a_code_after_the_former_of_two_keys_in_memory(make: Make, tmp_path: Path) -> None:
    """A key that is being replaced: its successor's line is not there yet, and that hides no question."""
    server = make(CODE, KEY_THEN_QUESTIONS)
    person, taken = Somebody([server.code(server.user)]), []
    new = make_key(tmp_path / "new")
    held = [
        HeldKey("the new one", new.read_text(), "Its line is missing."),
        HeldKey("the old one", server.key.read_text()),
    ]
    with to(server, person, held_keys=held, only_held_keys=True, key_accepted=taken.append) as shell:
        assert whoami(shell) == server.user
    assert taken == [PublicKey.read(f"{server.key}.pub").blob]
    with (
        to(server, person, held_keys=held[:1], only_held_keys=True) as shell,
        pytest.raises(LoginRefused, match="is missing"),
    ):
        shell.run("id -un")
    assert len(person.asked) == 1  # no code makes up for a key that is not there


def test_a_key_after_a_code(make: Make) -> None:
    """The key is shown first, as ever; that this was too early does not use it up."""
    server = make(CODE, "AuthenticationMethods keyboard-interactive,publickey\n")
    person = Somebody([server.code(server.user)])
    with to(server, person, keys=[server.key]) as shell:
        assert whoami(shell) == server.user
    assert [prompt.is_further for prompt in person.asked] == [False]


def test_a_password_that_was_given_is_not_sent_as_a_code(make: Make) -> None:
    server = make(PASSWORD + CODE)
    person = Somebody([server.code(server.user)])
    with to(server, person, password=server.password) as shell:
        assert whoami(shell) == server.user
    assert person.texts == [[f"One-time password (OATH) for `{server.user}':"]]
    server = make(CODE, KEY_THEN_QUESTIONS)
    person = Somebody([server.code(server.user)])
    with to(server, person, keys=[server.key], password=server.password) as shell:
        assert whoami(shell) == server.user


def test_a_server_that_takes_passwords_by_that_name_alone_gets_one(sshd: Sshd) -> None:
    person = Somebody([sshd.password])
    with to(sshd, person) as shell:
        assert whoami(shell) == sshd.user
    assert [(prompt.kind, prompt.questions[0].text) for prompt in person.asked] == [
        ("password", f"Password of {sshd.user}")
    ]


def failures(server: Sshd) -> int:
    log = server.log.read_text(errors="replace")
    return log.count("Failed ") + log.count("authentication failure") + log.count("error: PAM")


@pytest.mark.parametrize("first", ["a password", "a key"])
def test_without_anybody_to_ask_no_code_is_made_up_and_no_failure_is_counted(make: Make, first: str) -> None:
    is_key = first == "a key"
    server = make(CODE, KEY_THEN_QUESTIONS) if is_key else make(PASSWORD + CODE)
    before = failures(server)
    with leaving_nothing(), pytest.raises(LoginUnanswered, match="only a person can"):
        to(server, keys=[server.key] if is_key else [], password=None if is_key else server.password).run(
            "true"
        )
    assert failures(server) == before


def test_who_gives_up_is_not_refused_and_is_not_asked_again(make: Make) -> None:
    server = make(PASSWORD + CODE)
    person = Somebody([server.password], None)
    before = failures(server)
    with leaving_nothing(), pytest.raises(LoginUnanswered, match="got no answer"):
        to(server, person).run("true")
    assert len(person.asked) == 2
    assert failures(server) == before


def test_a_wrong_code_is_refused_and_nothing_is_tried_again(make: Make) -> None:
    server = make(CODE, KEY_THEN_QUESTIONS)
    person = Somebody(["000000"])
    with server.counting() as counted, leaving_nothing():
        with pytest.raises(LoginRefused, match=f"{server.user}. Tried: .*, your answer") as refused:
            to(server, person, keys=[server.key]).run("true")
        assert not isinstance(refused.value, LoginUnanswered)
    assert len(person.asked) == 1
    assert counted.connections == 1


@pytest.mark.parametrize("answers", [["1", "2"], [], "123456", ["x" * 5000]])
def test_answers_that_do_not_fit_are_not_sent(make: Make, answers: list[str]) -> None:
    server = make(CODE, KEY_THEN_QUESTIONS)
    before = failures(server)
    with pytest.raises(LoginUnanswered):
        to(server, Somebody(answers), keys=[server.key]).run("true")
    assert failures(server) == before


def test_the_command_asks_for_the_name_and_whatever_the_server_wants(make: Make, ssh_folder: Path) -> None:
    server = make(PASSWORD + CODE)
    (ssh_folder / "known_hosts").write_text(server.known_hosts.read_text())
    terminal = Terminal("--server", f"{server.host}:{server.port}", "list", command=START)
    terminal.expect(f"User name [{getpass.getuser()}]:")
    terminal.type(f"{server.user}\n")
    terminal.expect(f"asks {server.user}:")
    terminal.expect("| Password:")
    terminal.type(f"{server.password}\n")
    terminal.expect("| One-time password")
    code = server.code(server.user)
    terminal.type(f"{code}\n")
    assert terminal.end() == 0
    assert "There are no jobs" in terminal.shown
    assert code not in terminal.shown
    assert server.password not in terminal.shown


def test_who_interrupts_a_question_is_not_logged_in(make: Make, ssh_folder: Path) -> None:
    server = make(CODE, KEY_THEN_QUESTIONS)
    (ssh_folder / "known_hosts").write_text(server.known_hosts.read_text())
    shutil.copy(server.key, ssh_folder / "id_ed25519")
    terminal = Terminal("--server", server.destination, "list", command=START)
    terminal.expect("| One-time password")
    terminal.type("\x03")
    assert terminal.end() == 3
    assert "got no answer" in terminal.shown
    assert "Traceback" not in terminal.shown


# ---- time ----


class Slow(Somebody):
    def __init__(self, seconds: float, *rounds: list[str]) -> None:
        super().__init__(*rounds)
        self._seconds = seconds

    def __call__(self, prompt: Prompt) -> object:  # type: ignore[override]
        time.sleep(self._seconds)
        return super().__call__(prompt)


def test_a_person_may_take_longer_than_a_connection(make: Make) -> None:
    server = make(CODE, KEY_THEN_QUESTIONS)
    person = Slow(1.2, [server.code(server.user)])
    with to(server, person, keys=[server.key], connect_timeout=1) as shell:
        assert whoami(shell) == server.user


def test_a_server_that_hangs_up_while_a_person_types_is_told_as_that(make: Make) -> None:
    """As sshd does after its LoginGraceTime."""
    server = make(CODE, KEY_THEN_QUESTIONS)
    with leaving_nothing(), Proxy(server.port) as link:

        def person(prompt: Prompt) -> list[str]:
            link.strike("cut")
            time.sleep(0.3)
            return ["123456"]

        line = f"[127.0.0.1]:{link.port} {server.host_key}"
        target = Target("127.0.0.1", link.port, server.user, (server.key,))
        with pytest.raises(LoginUnanswered, match="hung up before it got an answer"):
            SSHShell(target, prompter=person, extra_host_keys=[line], allow_agent=False).run("true")


def test_an_answer_that_comes_too_late_is_not_sent(make: Make) -> None:
    server = make(CODE, KEY_THEN_QUESTIONS)
    before = failures(server)
    person = Slow(0.6, [server.code(server.user)])
    with leaving_nothing(), pytest.raises(LoginUnanswered, match="came too late"):
        to(server, person, keys=[server.key], answer_within=0.3).run("true")
    assert failures(server) == before
    assert person.asked[0].seconds <= 0.3


def approving(make: Make, seconds: float) -> PamSshd:
    server = make(
        "auth required pam_exec.so stdout /bin/echo Approve the request on your phone\n" + APPROVAL,
        KEY_THEN_QUESTIONS,
    )
    (server.folder / "approve").write_text(f"exec sleep {seconds}\n")
    return server


def test_an_approval_elsewhere_is_waited_for(make: Make) -> None:
    """sshd shows the module's words only together with a question, and here is none."""
    server = approving(make, 1.3)
    person = Somebody()
    with to(server, person, keys=[server.key], connect_timeout=1) as shell:
        assert whoami(shell) == server.user
    assert person.asked == []


def test_an_approval_that_never_comes_ends_in_time(make: Make) -> None:
    server = approving(make, 60)
    began = time.monotonic()
    with leaving_nothing(), pytest.raises(TimedOut, match="not done within 1 s"):
        to(server, Somebody(), keys=[server.key], answer_within=1).run("true")
    assert time.monotonic() - began < 4


def test_another_thread_ends_a_login_that_waits_and_it_connects_no_more(make: Make) -> None:
    server = approving(make, 60)
    shell = to(server, Somebody(), keys=[server.key])
    began = time.monotonic()
    with server.counting() as counted, leaving_nothing():
        threading.Timer(1.0, shell.end).start()
        with pytest.raises(Unreachable):
            shell.run("true")
        assert time.monotonic() - began < 10
        with pytest.raises(Unreachable, match="ended before it was done"):
            shell.run("true")
    assert (counted.connections, counted.execs) == (1, 0)


# ---- what our sshd does not do ----


def asked_by(server: AskingServer, person: Somebody | None, folder: Path, **options: object) -> LoginRefused:
    with leaving_nothing(), serving(server, folder) as (port, line):
        shell = SSHShell(Target("127.0.0.1", port, "me"), prompter=person, extra_host_keys=[line], **options)  # type: ignore[arg-type]
        with pytest.raises(LoginRefused) as refused:
            shell.run("true")
    return refused.value


def test_several_questions_at_once_and_words_alone_go_to_the_person_cleaned(tmp_path: Path) -> None:
    menu = "1. Push\n2. Call\r\n\x1b[2J\u202eOption: "
    server = AskingServer(
        paramiko.InteractiveQuery("Two \x1b]0;x\x07steps", "Line\none", ("Password: ", False), (menu, True)),
        paramiko.InteractiveQuery("", "Look at your phone"),
        paramiko.InteractiveQuery("", ""),
        paramiko.InteractiveQuery("x" * 5000, "y\n" * 5000, ("z" * 100_000, False)),
    )
    person = Somebody(["secret", "1"], ["2"])
    refused = asked_by(server, person, tmp_path, password="x")
    assert server.answers == [["secret", "1"], [], [], ["2"]]
    first, notice, last = person.asked
    assert (first.title, first.instructions) == ("Two  ]0;x steps", "Line\none")
    assert [(q.text, q.echo) for q in first.questions] == [
        ("Password:", False),
        ("1. Push\n2. Call\n[2J Option:", True),
    ]
    assert (notice.questions, notice.instructions) == ((), "Look at your phone")
    assert len(last.title) == 200
    assert len(last.instructions.splitlines()) <= 24
    assert len(last.questions[0].text) == 200
    assert "secret" not in str(refused)


def test_a_code_is_left_to_a_person_and_nothing_is_sent(tmp_path: Path) -> None:
    server = AskingServer(paramiko.InteractiveQuery("", "", ("Password: ", False), ("\x1b[31mCode: ", True)))
    refused = asked_by(server, None, tmp_path, password=CANARY)
    assert isinstance(refused, LoginUnanswered)
    assert "only a person can answer" in str(refused)
    assert "\x1b" not in str(refused)
    assert server.answers == []


def test_a_server_that_asks_on_and_on_is_left(tmp_path: Path) -> None:
    server = AskingServer(*[paramiko.InteractiveQuery("", "", ("Again: ", True))] * 100)
    person = Somebody(*[["x"]] * 100)
    assert "asks on and on" in str(asked_by(server, person, tmp_path))
    assert len(person.asked) == 12


class Endless(list[tuple[str, bool]]):
    def __len__(self) -> int:
        return 0xFFFFFFFF


def test_a_server_that_announces_questions_without_end_costs_nothing(tmp_path: Path) -> None:
    query = paramiko.InteractiveQuery("", "")
    query.prompts = Endless([("x", True)])
    with leaving_nothing(), serving(AskingServer(query), tmp_path) as (port, line):
        shell = SSHShell(Target("127.0.0.1", port, "me"), prompter=Somebody(), extra_host_keys=[line])
        with pytest.raises(Unreachable, match="no SSH that we can use"):
            shell.run("true")


def test_a_prompter_that_breaks_is_no_broken_connection(tmp_path: Path) -> None:
    def broken(prompt: Prompt) -> None:
        raise OSError("no page is open")

    server = AskingServer(paramiko.InteractiveQuery("", "", ("Code: ", True)))
    refused = asked_by(server, broken, tmp_path)  # type: ignore[arg-type]
    assert isinstance(refused, LoginUnanswered)
    assert "did not get through" in str(refused)


# ---- passphrases ----


def test_a_passphrase_is_asked_for_once_and_only_if_no_other_key_does(
    sshd: Sshd, tmp_path: Path, make: Make
) -> None:
    account = sshd.account()
    locked = make_key(tmp_path / "locked", CANARY)
    keys = account.home / ".ssh" / "authorized_keys"
    keys.write_text(locked.with_suffix(".pub").read_text())
    target = Target(sshd.host, sshd.port, account.user, (locked,))
    options = {"known_hosts": [sshd.known_hosts], "allow_agent": False}
    person = Somebody([CANARY])
    with SSHShell(target, prompter=person, **options) as shell:
        assert whoami(shell) == account.user
    assert [(prompt.kind, prompt.questions[0].text) for prompt in person.asked] == [
        ("passphrase", f"Passphrase of {locked}")
    ]
    keys.write_text(keys.read_text() + sshd.key.with_suffix(".pub").read_text())
    person = Somebody()
    with SSHShell(target, prompter=person, keys=[sshd.key], **options) as shell:
        assert whoami(shell) == account.user
    assert person.asked == []


def test_a_wrong_passphrase_is_told_and_no_server_counts_it(sshd: Sshd, tmp_path: Path) -> None:
    account = sshd.account()
    locked = make_key(tmp_path / "locked", CANARY)
    (account.home / ".ssh" / "authorized_keys").write_text(locked.with_suffix(".pub").read_text())
    locked.with_suffix(".pub").unlink()  # the key itself tells its public half
    target = Target(sshd.host, sshd.port, account.user, (locked,))
    before = failures(sshd)
    for answer, error in ((["no"], KeyLocked), (None, LoginUnanswered)):
        person = Somebody(answer)
        with leaving_nothing(), pytest.raises(error):
            SSHShell(target, prompter=person, known_hosts=[sshd.known_hosts], allow_agent=False).run("true")
        assert len(person.asked) == 1
    assert failures(sshd) == before


@pytest.mark.parametrize("kind", ["rsa"])
def test_a_locked_key_of_the_home_is_asked_for_only_if_the_server_wants_it(
    sshd: Sshd, ssh_folder: Path, kind: str
) -> None:
    account = sshd.account()
    locked = make_key(ssh_folder / f"id_{kind}", CANARY, kind=kind)
    where = Target(sshd.host, sshd.port, account.user)
    options = {"known_hosts": [sshd.known_hosts], "allow_agent": False}
    person = Somebody([account.password])
    with SSHShell(where, prompter=person, **options) as shell:
        assert whoami(shell) == account.user
    assert [prompt.kind for prompt in person.asked] == ["password"]
    (account.home / ".ssh" / "authorized_keys").write_text(locked.with_suffix(".pub").read_text())
    person = Somebody([CANARY])
    with SSHShell(where, prompter=person, **options) as shell:
        assert whoami(shell) == account.user
    assert [prompt.kind for prompt in person.asked] == ["passphrase"]


# ---- what is kept ----


def test_nothing_that_was_typed_is_logged_or_shown(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    server = make(PASSWORD + CODE)
    locked = make_key(tmp_path / "locked", CANARY)
    shown = []
    for person, keys in (
        (Somebody([CANARY]), []),
        (Somebody([server.password], [CANARY]), []),
        (Somebody([CANARY], [CANARY]), [locked]),
        (Somebody([server.password], [server.code(server.user)]), []),
    ):
        shell = to(server, person, keys=keys, password=None)
        try:
            shell.run("true").close()
        except LoginRefused as error:
            shown.append(
                "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
            )
        shown += [repr(shell), str(shell), repr(vars(shell)), repr(shell._link and vars(shell._link))]
        shell.close()
    shown += [caplog.text, *capfd.readouterr()]
    assert len(caplog.records) > 50
    for secret in (CANARY, server.password):
        assert secret not in "".join(shown)

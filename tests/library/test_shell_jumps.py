"""A server that is reached through others, on three real sshds: each hop is checked, bounded and closed for itself."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster.parts import free_port, wait_until
from cluster.proxy import Proxy
from cluster.sshd import Sshd, make_key
from known_secrets import open_files
from library.test_command import run
from library.test_shell_faults import leaving_nothing, listening, silence

from remotejobs import BadInput, RemoteJobSubmitter, Target
from remotejobs.aliases import parse_jumps, resolve
from remotejobs.authorized import PublicKey
from remotejobs.destination import Destination
from remotejobs.errors import (
    HostKeyChanged,
    HostKeyProblem,
    HostKeyUnknown,
    LoginError,
    LoginRefused,
    ServerProblem,
    TimedOut,
    Unreachable,
)
from remotejobs.keyfiles import HeldKey
from remotejobs.shell import SSHShell

SERVERS = ("gate", "inner", "far")


@pytest.fixture(scope="module")
def servers(parts_folder: Path, sshd: Sshd) -> Iterator[list[Sshd]]:
    """gate, inner, far: three servers with keys and accounts of their own."""
    started = [Sshd(parts_folder / f"sshd-{name}") for name in SERVERS]
    try:
        for server in started:
            server.start()
        yield started
    finally:
        for server in started:
            server.stop()


def known(servers: list[Sshd]) -> list[str]:
    return [server.known_hosts.read_text() for server in servers]


def hop(server: Sshd, *jumps: Target) -> Target:
    return Target(server.host, server.port, server.user, (server.key,), jumps=jumps)


def way(servers: list[Sshd]) -> Target:
    *jumps, last = servers
    return hop(last, *map(hop, jumps))


@pytest.fixture
def config(servers: list[Sshd], ssh_folder: Path) -> Path:
    """~/.ssh/config, with an alias for each."""
    blocks = [
        f"Host {name}\n HostName {server.host}\n Port {server.port}\n User {server.user}\n IdentityFile {server.key}\n"
        for name, server in zip(SERVERS, servers, strict=True)
    ]
    (ssh_folder / "known_hosts").write_text("".join(known(servers)))
    file = ssh_folder / "config"
    file.write_text("".join(blocks) + f"Host *\n UserKnownHostsFile {ssh_folder}/known_hosts\n")
    return file


def add(config: Path, text: str) -> None:
    """In front: as with OpenSSH, what is said first counts."""
    config.write_text(text + config.read_text())


def over(target: Target, lines: list[str]) -> SSHShell:
    return SSHShell(target, known_hosts=[], extra_host_keys=lines)


def whoami(shell: SSHShell) -> str:
    with shell.run("id -un") as output:
        return output.stdout.read().decode().strip()


def peers() -> list[int]:
    """The ports that this process has connections to."""
    return [c.raddr.port for c in psutil.Process().net_connections() if c.raddr and c.status == "ESTABLISHED"]


# ---- which way ----


def test_an_alias_leads_through_its_jumps_in_openssh_s_order(servers: list[Sshd], config: Path) -> None:
    add(config, "Host far\n ProxyJump gate,inner\n")
    before = peers()
    counts = [server.counts() for server in servers]
    with SSHShell(Destination("far")) as shell:
        assert whoami(shell) == servers[2].user
        assert sorted(peers()) == sorted([*before, servers[0].port])
        assert shell.run("cat", bytes(300_000)).size == 300_000
        assert shell.connections == 1
    assert [s.counts().connections - c.connections for s, c in zip(servers, counts, strict=True)] == [1, 1, 1]
    theirs = ["ssh", "-F", str(config), "-v", "far", "true"]
    shown = subprocess.run(theirs, capture_output=True, text=True, check=True, timeout=20).stderr
    assert f"Connecting to {servers[0].host} [{servers[0].host}] port {servers[0].port}" in shown


def test_a_jump_may_be_an_alias_that_has_a_jump_itself(servers: list[Sshd], config: Path) -> None:
    add(config, "Host far\n ProxyJump inner\nHost inner\n ProxyJump gate\n")
    target = resolve(Destination("far"), config)
    assert [jump.port for jump in target.jumps] == [servers[0].port, servers[1].port]
    with SSHShell(Destination("far")) as shell:
        assert whoami(shell) == servers[2].user


def test_what_an_alias_came_to_can_be_kept_as_json_and_used_without_the_file(
    servers: list[Sshd], config: Path
) -> None:
    add(config, "Host far\n ProxyJump gate,inner\n")
    kept = json.dumps(resolve(Destination("far"), config).as_dict())
    config.unlink()
    target = Target.from_dict(json.loads(kept))
    with SSHShell(target, known_hosts=[], extra_host_keys=known(servers)) as shell:
        assert whoami(shell) == servers[2].user


def test_jumps_are_given_as_an_argument_and_replace_those_of_the_file(
    servers: list[Sshd], config: Path
) -> None:
    add(config, "Host far\n ProxyJump nowhere.invalid\n")
    with RemoteJobSubmitter("app", "far", jumps=["gate", "inner"]) as jobs:
        assert jobs.settings.list_keys() == []
        assert servers[0].port in peers()
        assert servers[2].port not in peers()
    with RemoteJobSubmitter("app", "far", jumps=[]) as jobs:
        assert jobs.settings.list_keys() == []
        assert servers[2].port in peers()


def test_the_command_takes_jumps(servers: list[Sshd], config: Path) -> None:
    before = [server.counts().connections for server in servers]
    done = run("--server", "far", "--jump", "gate,inner", "list")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [s.counts().connections - n for s, n in zip(servers, before, strict=True)] == [1, 1, 1]
    assert run("--server", "far", "--jump", "gate;x", "list").returncode == 2


@pytest.mark.parametrize(
    ("jumps", "hosts"),
    [
        ("none", []),
        ("None", []),
        ("a", ["a"]),
        # The first one's own jumps count, those of a later one do not: it is said how that is reached.
        ("b", ["a", "b"]),
        ("b,c", ["a", "b", "c"]),
        ("c,b", ["c", "b"]),
        ("ssh://me@a:2222, b", ["a", "b"]),
    ],
)
def test_jumps_are_read_as_openssh_reads_them(jumps: str, hosts: list[str], ssh_folder: Path) -> None:
    file = ssh_folder / "config"
    file.write_text(f"Host x\n ProxyJump {jumps}\nHost b\n ProxyJump a\nHost *\n User me\n")
    target = resolve(Destination("x"), file)
    assert [jump.host for jump in target.jumps] == hosts
    assert [hop.host for hop in target.hops] == [*hosts, "x"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Host x\n ProxyJump y\nHost y\n ProxyJump x\n", "in a circle: x by y by x"),
        ("Host *\n ProxyJump gate\n", "in a circle: x by gate by gate"),
        ("Host x\n ProxyJump x\n", "in a circle"),
        (
            "Host x\n ProxyJump y\nHost y\n ProxyCommand touch {0}/PWNED\n",
            "proxycommand, which runs a command",
        ),
        ("Host x\n ProxyJump -oProxyCommand=touch\n", "is not a server"),
        ("Host x\n ProxyJump a;touch\n", "is not a server"),
        ("Host x\n ProxyJump a,,b\n", "is not a server"),
        ("Host x\n ProxyJump a,b,c,d,e,f,g,h,i\n", "More than 8 jumps"),
    ],
)
def test_a_way_that_is_not_gone_gets_a_sentence(
    text: str, says: str, ssh_folder: Path, tmp_path: Path
) -> None:
    (ssh_folder / "config").write_text(text.format(tmp_path))
    with pytest.raises(LoginError, match=says):
        SSHShell(Destination("x")).run("true")
    assert not (tmp_path / "PWNED").exists()


def test_a_way_is_a_value() -> None:
    target = Target("alps", 22, "me", (Path("/k"),), (Path("/c"),), True, "login", parse_target_jumps("g:23"))
    assert Target.from_dict(json.loads(json.dumps(target.as_dict()))) == target
    assert Target.from_dict({"host": "::1", "port": 22, "user": "me"}).label == "[::1]"
    nested = Target("c", 22, "me", jumps=(Target("b", 22, "me", jumps=parse_target_jumps("a")),))
    assert [hop.host for hop in nested.hops] == ["a", "b", "c"]
    assert nested.ssh == "ssh -J me@a,me@b me@c"


def parse_target_jumps(text: str) -> tuple[Target, ...]:
    return tuple(Target(jump.host, jump.port, "me") for jump in parse_jumps(text))


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"host": "a;b", "port": 22, "user": "me"},
        {"host": "a", "port": "22", "user": "me"},
        {"host": "a", "port": 0, "user": "me"},
        {"host": "a", "port": 22, "user": "-x"},
        {"host": "a", "port": 22, "user": "me", "jumps": [{}]},
        {"host": "a", "port": 22, "user": "me", "jumps": 3},
        {"host": "a", "port": 22, "user": "me", "key_files": [1]},
        {"host": "a", "port": 22, "user": "me", "key_files": "/k"},
        [],
        None,
    ],
)
def test_what_describes_no_way_is_refused(told: object) -> None:
    with pytest.raises(BadInput):
        Target.from_dict(told)  # type: ignore[arg-type]


# ---- whom each hop trusts ----


@pytest.mark.parametrize("at", range(3), ids=SERVERS)
def test_the_host_key_of_every_hop_is_checked(servers: list[Sshd], at: int, tmp_path: Path) -> None:
    lines = known(servers)
    others = [server.counts().connections for server in servers]
    with leaving_nothing():
        with pytest.raises(HostKeyUnknown) as unknown:
            over(way(servers), [*lines[:at], *lines[at + 1 :]]).run("true")
        about(unknown.value, servers[at])
        jumps = ",".join(f"{jump.user}@{jump.host}:{jump.port}" for jump in servers[:at])
        through = f"-J {jumps} " if jumps else ""
        assert f"`ssh {through}-p {servers[at].port} {servers[at].user}@" in str(unknown.value)
        stranger = make_key(tmp_path / "stranger").with_suffix(".pub").read_text()
        lines[at] = f"[{servers[at].host}]:{servers[at].port} {stranger}"
        with pytest.raises(HostKeyChanged, match="HAS CHANGED") as changed:
            over(way(servers), lines).run("true")
        about(changed.value, servers[at])
        assert [kind for kind, _ in changed.value.accepted] == ["ssh-ed25519"]
    assert [s.counts().connections - n for s, n in zip(servers, others, strict=True)] == [2] * (at + 1) + [
        0
    ] * (2 - at)


def about(error: HostKeyProblem, server: Sshd) -> None:
    """What a page shows, and may store."""
    assert error.server == f"{server.host}:{server.port}"
    assert error.name == f"[{server.host}]:{server.port}"
    assert f"{error.key_type} {error.line.split()[2]}" == server.host_key
    assert error.line.split()[0] == error.name
    shown = subprocess.run(
        ["ssh-keygen", "-lf", "-"], input=error.line, capture_output=True, text=True, check=True
    )
    assert error.fingerprint == shown.stdout.split()[1]


def test_a_person_accepts_hop_by_hop_and_the_keys_are_stored_where_they_are_wanted(
    servers: list[Sshd],
) -> None:
    asked: list[str] = []
    stored: list[str] = []

    def accept(unknown: HostKeyUnknown) -> bool:
        asked.append(unknown.server)
        return True

    with SSHShell(
        way(servers),
        known_hosts=[],
        accept_host_key=accept,
        store_host_key=lambda unknown: stored.append(unknown.line),
    ) as shell:
        assert whoami(shell) == servers[2].user
        assert shell.connections == 4
    assert asked == [f"{server.host}:{server.port}" for server in servers]
    assert stored == [line.strip() for line in known(servers)]
    with SSHShell(way(servers), known_hosts=[], extra_host_keys=stored) as shell:
        assert whoami(shell) == servers[2].user


def test_a_password_is_for_the_last_server_alone(servers: list[Sshd], tmp_path: Path) -> None:
    gate, _, far = servers
    no_key = Target(gate.host, gate.port, gate.user)
    jump = Destination(gate.host, gate.port, gate.user)
    options = {
        "known_hosts": [],
        "extra_host_keys": known(servers),
        "look_for_keys": False,
        "allow_agent": False,
    }
    log = gate.log.read_text()
    with (
        SSHShell(
            Destination(far.host, far.port, far.user), jumps=[jump], password=far.password, **options
        ) as shell,
        pytest.raises(LoginRefused, match=f"{gate.user}. Tried: nothing"),
    ):
        shell.run("true")
    assert "password" not in gate.log.read_text()[len(log) :]
    options |= {"keys": [gate.key], "password": far.password}
    with SSHShell(Target(far.host, far.port, far.user, jumps=(no_key,)), **options) as shell:
        assert whoami(shell) == far.user
    assert "password" not in gate.log.read_text()[len(log) :]


# ---- how it ends ----


def test_closing_leaves_no_hop_open(servers: list[Sshd]) -> None:
    files = open_files()
    with leaving_nothing():
        shell = SSHShell(way(servers), known_hosts=[], extra_host_keys=known(servers))
        shell.run("true")
        sessions = [sessions_of(server) for server in servers]
        assert all(sessions)
        shell.close()
    wait_until(lambda: not any(map(sessions_of, servers)), "the servers' processes to end", 5)
    assert open_files() <= files


def sessions_of(server: Sshd) -> int:
    assert server.daemon
    return len(psutil.Process(server.daemon.process.pid).children())


@pytest.mark.parametrize("at", range(3), ids=SERVERS)
def test_a_login_that_is_refused_at_any_hop_leaves_nothing(
    servers: list[Sshd], at: int, tmp_path: Path
) -> None:
    stranger = make_key(tmp_path / "stranger")
    hops = [hop(server) for server in servers]
    hops[at] = Target(servers[at].host, servers[at].port, servers[at].user, (stranger,))
    *jumps, last = hops
    target = Target(last.host, last.port, last.user, last.key_files, jumps=tuple(jumps))
    files = open_files()
    with leaving_nothing():
        shell = SSHShell(target, known_hosts=[], extra_host_keys=known(servers), allow_agent=False)
        with pytest.raises(LoginRefused, match=f"{servers[at].user}.*stranger"):
            shell.run("true")
        assert shell.connections == 1
    assert open_files() <= files
    wait_until(lambda: not any(map(sessions_of, servers)), "the servers' processes to end", 5)


def test_a_jump_that_leads_nowhere_says_which_one(servers: list[Sshd]) -> None:
    gate = hop(servers[0])
    options = {"known_hosts": [], "extra_host_keys": known(servers), "connect_timeout": 1}
    with leaving_nothing():
        with pytest.raises(
            Unreachable, match=rf"port {servers[0].port}\) got no connection to 127.0.0.1:\d+: Connect failed"
        ):
            SSHShell(Target("127.0.0.1", free_port(), "me", jumps=(gate,)), **options).run("true")
        with (
            listening(silence) as port,
            pytest.raises(TimedOut, match=rf"port {port}\).*not done within 1 s"),
        ):
            SSHShell(Target("127.0.0.1", port, "me", jumps=(gate,)), **options).run("true")


def test_a_jump_that_passes_nothing_on_says_so(parts_folder: Path) -> None:
    server = Sshd(parts_folder / "sshd-closed", "AllowTcpForwarding no\n")
    try:
        server.start()
        target = Target("127.0.0.1", 22, "me", jumps=(hop(server),))
        with leaving_nothing(), pytest.raises(ServerProblem, match="does not pass connections on"):
            SSHShell(target, known_hosts=[server.known_hosts]).run("true")
    finally:
        server.stop()


def test_a_link_that_dies_behind_a_jump_ends_a_command_in_time(servers: list[Sshd]) -> None:
    gate, _, far = servers
    with Proxy(far.port) as link:
        line = f"[127.0.0.1]:{link.port} {far.host_key}"
        target = Target("127.0.0.1", link.port, far.user, (far.key,), jumps=(hop(gate),))
        with (
            leaving_nothing(),
            SSHShell(target, known_hosts=[gate.known_hosts], extra_host_keys=[line]) as shell,
        ):
            assert whoami(shell) == far.user
            link.strike("silent")
            with pytest.raises(TimedOut):
                shell.run("true", timeout=0.5)
            link.forget()
            assert whoami(shell) == far.user
            assert shell.connections == 2
            link.strike("cut")
            wait_until(lambda: not shell._link or not shell._link.alive, "the end to be seen", 5)
            assert whoami(shell) == far.user
        link.revive()


def test_a_key_in_memory_is_shown_to_the_last_hop_alone_which_is_shown_nothing_else(
    servers: list[Sshd], tmp_path: Path
) -> None:
    gate, _, far = servers
    held, account = make_key(tmp_path / "held"), far.account()
    (account.home / ".ssh" / "authorized_keys").write_text(held.with_suffix(".pub").read_text())
    target = Target(far.host, far.port, account.user, (far.key,), jumps=(hop(gate),))
    marks, taken = [len(server.log.read_text()) for server in (gate, far)], []
    with SSHShell(
        target,
        held_keys=[HeldKey("the held one", held.read_text())],
        only_held_keys=True,
        key_accepted=taken.append,
        known_hosts=[],
        extra_host_keys=known(servers),
    ) as shell:
        assert held.read_text().splitlines()[2] not in repr(vars(shell))
        with shell.run("id -un") as output:
            assert output.stdout.read().decode().strip() == account.user
    own, theirs = (PublicKey.read(f"{key}.pub") for key in (held, gate.key))
    assert taken == [own.blob]
    seen = [
        set(re.findall(r"SHA256:[\w+/]{43}", server.log.read_text()[mark:]))
        for server, mark in zip((gate, far), marks, strict=True)
    ]
    assert seen == [{theirs.fingerprint}, {own.fingerprint}]

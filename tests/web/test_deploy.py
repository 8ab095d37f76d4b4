"""deploy/: what its files promise, by systemd's own judgement; and the whole of it, installed and running on a small VPS."""

import configparser
import json
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster.parts import Daemon, base_folder, need, need_network, wait_until
from cluster.sshd import Sshd
from cluster.vps import Vps
from known_secrets import known
from packaging.requirements import Requirement

pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(400)]  # the first test waits until all is installed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
NAME, ADDRESS, PHONE = "jobs.home.arpa", "10.98.0.1", "10.98.0.7"
DATABASE = "/var/lib/remoteweb/remoteweb.sqlite"


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_a_unit_little_exposed(unit: Path) -> None:
    need("systemd-analyze", "systemd-analyze")
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # not, with more than 1.5
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level and float(level[1]) <= 1.5


# name==version, perhaps a marker; then nothing but hashes and what it is for.
PINNED = re.compile(
    r"([A-Za-z0-9._-]+)==(\S+?)(?: ; (.+?))? \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)(?: +#.*\n)*"
)


def pinned() -> dict[str, list[str]]:
    text = re.sub(r"^#.*\n", "", (DEPLOY / "requirements.txt").read_text(), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for name, version, _marker, _hashes in PINNED.findall(text):
        found.setdefault(name.lower(), []).append(version)
    assert PINNED.sub("", text) == "", "a line without a hash"
    return found


def test_every_package_of_a_deployment_is_pinned_with_its_hashes_as_setup_cfg_wants_it() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = [line for line in setup["options"]["install_requires"].splitlines() if line]
    wanted += tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    versions = pinned()
    for one in map(Requirement, wanted):
        found = versions.get(one.name.lower(), [])
        assert found and all(version in one.specifier for version in found), f"{one}: run `make requirements`"


def test_the_pinned_packages_come_from_wherever_pip_is_set_to_look() -> None:
    assert re.findall(r"://|--(?!hash=)\S+", (DEPLOY / "requirements.txt").read_text()) == []


@pytest.fixture(scope="module")
def vps() -> Iterator[Vps]:
    need_network()  # packages come from wherever pip finds them
    with base_folder("vps") as folder:
        machine = Vps(folder)
        try:
            machine.start()
            yield machine
        finally:
            machine.stop()


@pytest.fixture(scope="module")
def installed(vps: Vps) -> Vps:
    vps.output = vps.did("/srv/checkout/deploy/install.sh", "--private", ADDRESS, NAME)  # type: ignore[attr-defined]
    return vps


@pytest.fixture(scope="module")
def key(installed: Vps, sshd: Sshd) -> Vps:
    """With a key, as the installer says, and the host key of a cluster."""
    installed.did(
        "sh", "-c", "umask 077; cat >/etc/remoteweb/ssh-keys/id_ed25519", given=sshd.key.read_text()
    )
    installed.did("sh", "-c", "cat >/etc/ssh/ssh_known_hosts", given=sshd.known_hosts.read_text())
    return installed


@pytest.fixture(scope="module")
def worker(key: Vps) -> Daemon:
    daemon = key.unit("remoteweb-sync.service")
    daemon.wait_until(lambda: "The sync worker runs" in daemon.log.read_text())
    return daemon


@pytest.fixture(scope="module")
def web(installed: Vps) -> Daemon:
    daemon = installed.unit("remoteweb-web.service")
    daemon.wait_until(lambda: f"https://{NAME}" in daemon.log.read_text())
    return daemon


@pytest.fixture(scope="module")
def caddy(installed: Vps, web: Daemon) -> Daemon:
    daemon = installed.caddy()
    daemon.wait_until(lambda: "certificate obtained successfully" in daemon.log.read_text())
    return daemon


def curl(caddy: Daemon, vps: Vps, path: str, *more: str) -> subprocess.CompletedProcess[str]:
    """As the phone asks, in the network of the proxy."""
    root = vps.did("cat", "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt")
    authority = vps.folder / "root.crt"
    authority.write_text(root)
    asked = ["curl", "-sS", "-i", "--cacert", str(authority), "--interface", PHONE, "--max-time", "20"]
    place = ["--resolve", f"{NAME}:443:{ADDRESS}", f"https://{NAME}{path}"]
    inside = ["nsenter", f"--target={caddy.process.pid}", "--net"]
    return subprocess.run([*inside, *asked, *more, *place], capture_output=True, text=True, check=False)


def seen(vps: Vps, *paths: str) -> dict[str, tuple[str, str, int]]:
    """Owner, group and mode of each."""
    lines = vps.did("stat", "-c", "%n %U %G %a", *paths).splitlines()
    return {name: (user, group, int(mode, 8)) for name, user, group, mode in map(str.split, lines)}


def test_systemd_finds_no_fault_in_the_installed_units(installed: Vps) -> None:
    names = [path.name for path in DEPLOY.iterdir() if path.suffix in (".service", ".socket")]
    assert len(names) == 3
    done = installed.run("systemd-analyze", "verify", *(f"/etc/systemd/system/{name}" for name in names))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_each_file_belongs_to_whom_it_should(key: Vps) -> None:
    assert seen(
        key, "/etc/remoteweb/ssh-keys", "/etc/remoteweb/ssh-keys/id_ed25519", "/etc/remoteweb/remoteweb.env"
    ) == {
        "/etc/remoteweb/ssh-keys": ("root", "root", 0o700),
        "/etc/remoteweb/ssh-keys/id_ed25519": ("root", "root", 0o600),
        "/etc/remoteweb/remoteweb.env": ("root", "remoteweb", 0o640),
    }
    folders = seen(key, "/var/lib/remoteweb", "/var/lib/remoteweb-web", "/var/lib/remoteweb-sync", DATABASE)
    assert folders["/var/lib/remoteweb"] == ("remoteweb-sync", "remoteweb", 0o2770)
    assert folders["/var/lib/remoteweb-web"] == ("remoteweb-web", "remoteweb", 0o700)
    assert folders["/var/lib/remoteweb-sync"] == ("remoteweb-sync", "remoteweb", 0o700)
    assert folders[DATABASE][1:] == ("remoteweb", 0o660)
    others = key.did(
        "find",
        "/opt/remoteweb",
        "/etc/systemd/system/",
        "!",
        "-user",
        "root",
        "-o",
        "-perm",
        "/022",
        "!",
        "-type",
        "l",
    )
    assert others == "", "nobody but root can change the program"


def test_to_install_again_changes_nothing_but_the_name(installed: Vps) -> None:
    listing = ("find", "/opt/remoteweb", "-type", "f", "-printf", "%p %T@ %s %m %U\\n")
    before = installed.did(*listing)
    again = installed.did("/srv/checkout/deploy/install.sh", "--private", ADDRESS, NAME)
    assert "The program is there already" in again
    assert installed.did(*listing) == before
    assert installed.did("cat", "/etc/remoteweb/remoteweb.env").count("PUBLIC_URL") == 1
    assert installed.output.rstrip().endswith("remoteweb create-user NAME")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments", [[], ["Jobs.example.org"], ["a;id"], ["--private", "$(id)", "a.example"], ["--help"]]
)
def test_what_the_installer_cannot_take_is_a_sentence_and_nothing_is_done(
    vps: Vps, arguments: list[str]
) -> None:
    done = vps.run("/srv/checkout/deploy/install.sh", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and re.match("This|There|Usage|.* is no address", done.stderr)


def test_the_pages_run_without_a_network_and_without_the_key(key: Vps, web: Daemon, worker: Daemon) -> None:
    for process in [psutil.Process(web.process.pid), *psutil.Process(web.process.pid).children()]:
        networks = Path(f"/proc/{process.pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in networks] == ["lo"]
        assert Path(f"/proc/{process.pid}/net/fib_trie").read_text() == "", "not even loopback is up"
    credential = "/run/credentials/remoteweb-sync.service/ssh-keys_id_ed25519"
    assert "PRIVATE KEY" in key.did("cat", credential, user="remoteweb-sync")
    secret = "/var/lib/remoteweb-web/remoteweb/secret"
    assert len(key.did("cat", secret, user="remoteweb-web")) > 32
    for user, path in (
        ("remoteweb-web", credential),
        ("remoteweb-web", "/etc/remoteweb/ssh-keys/id_ed25519"),
        ("remoteweb-sync", "/etc/remoteweb/ssh-keys/id_ed25519"),
        ("remoteweb-sync", secret),
        ("caddy", secret),
        ("caddy", DATABASE),
    ):
        if user == "caddy":
            done = key.run("setpriv", "--reuid=caddy", "--regid=caddy", "--clear-groups", "cat", path)
        else:
            done = key.run("cat", path, user=user)
        assert (done.returncode, done.stdout) == (1, ""), (user, path)
        assert "Permission denied" in done.stderr


def test_what_seals_the_keys_that_are_made_is_the_workers_alone(
    key: Vps, worker: Daemon, web: Daemon, sshd: Sshd
) -> None:
    kept = key.did("sh", "-c", "ls /etc/remoteweb/key-encryption*").split()
    assert len(kept) == 1 and seen(key, *kept)[kept[0]] == ("root", "root", 0o400)
    credential = "/run/credentials/remoteweb-sync.service/key-encryption"
    secret = known(key.did("cat", credential, user="remoteweb-sync").strip())
    if kept[0].endswith(".cred"):
        assert secret not in key.did("cat", kept[0]), "it lies encrypted"
        unit = key.did("cat", "/etc/systemd/system/remoteweb-sync.service")
        assert f"\nLoadCredentialEncrypted=key-encryption:{kept[0]}\n" in unit
    for path in (credential, *kept):
        done = key.run("cat", path, user="remoteweb-web")
        assert done.returncode == 1 and "Permission denied" in done.stderr
    for daemon in (web, worker):
        for process in [
            psutil.Process(daemon.process.pid),
            *psutil.Process(daemon.process.pid).children(recursive=True),
        ]:
            assert secret not in str(process.environ())
    assert "KEY_ENCRYPTION" not in str(psutil.Process(web.process.pid).environ())

    account = sshd.account()
    there = f"{account.user}@{sshd.host}:{sshd.port}"
    made = key.did("remoteweb", "key", "make", there)
    (account.home / ".ssh" / "authorized_keys").write_text(made.splitlines()[-1] + "\n")
    assert "0 jobs" in key.did("remoteweb", "update-database", "jobs", there)
    assert json.loads(key.did("remoteweb", "key", "list", "--json"))[-1]["state"] == "in_use"
    # What whoever is in the pages' process could try.
    has = [f"REMOTEWEB_SQLALCHEMY_DATABASE_URI=sqlite:///{DATABASE}", "XDG_STATE_HOME=/var/lib/remoteweb-web"]
    program = "/opt/remoteweb/current/bin/remoteweb"
    asked = key.run("env", *has, program, "key", "show", there, user="remoteweb-web")
    assert asked.returncode == 3 and "cannot be used" in asked.stderr, asked.stderr


def test_what_is_typed_goes_from_the_pages_to_the_worker_and_nobody_else_gets_near(
    key: Vps, worker: Daemon
) -> None:
    folder = "/run/remoteweb-sync"
    (path,) = key.did("find", folder, "-type", "s").split()
    assert seen(key, folder, path) == {
        folder: ("remoteweb-sync", "remoteweb", 0o750),
        path: ("remoteweb-sync", "remoteweb", 0o660),
    }
    connect = ["/usr/bin/python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"]
    assert key.did(*connect, user="remoteweb-web") == ""
    done = key.run("setpriv", "--reuid=caddy", "--regid=caddy", "--clear-groups", *connect)
    assert done.returncode == 1 and "PermissionError" in done.stderr


def test_neither_listens_on_a_network(web: Daemon, worker: Daemon) -> None:
    for daemon in (web, worker):
        for process in [
            psutil.Process(daemon.process.pid),
            *psutil.Process(daemon.process.pid).children(recursive=True),
        ]:
            assert [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN] == []


def test_both_write_one_database_and_the_key_reaches_a_server(
    installed: Vps, worker: Daemon, caddy: Daemon, sshd: Sshd
) -> None:
    account = sshd.account()
    made = installed.did("remoteweb", "update-database", "jobs", f"{account.user}@{sshd.host}:{sshd.port}")
    assert "jobs" in made or account.user in made
    asked = time.time()
    cookie = signed_in(installed, caddy)
    same = ("-H", "Sec-Fetch-Site: same-origin", "-H", f"Cookie: {cookie}")
    assert " 303" in curl(caddy, installed, "/sync", *same, "-X", "POST").stdout.splitlines()[0]
    query = (
        f"SELECT count(*) FROM sync_run WHERE ended_at > {asked} AND asked_by = 'person' AND state = 'done'"
    )
    code = f"import sqlite3; print(sqlite3.connect('{DATABASE}').execute(\"{query}\").fetchone()[0])"
    wait_until(
        lambda: installed.did("/usr/bin/python3", "-c", code, user="remoteweb-web").strip() != "0",
        "a sync",
        60,
    )
    modes = seen(installed, *(f"{DATABASE}{end}" for end in ("", "-wal", "-shm", ".lock")))
    assert {one[1:] for one in modes.values()} == {("remoteweb", 0o660)}


def signed_in(vps: Vps, caddy: Daemon) -> str:
    """The cookie of a browser that opened a printed link."""
    link = vps.did("remoteweb", "link").strip()
    assert link.startswith(f"https://{NAME}/enter/")
    answer = curl(caddy, vps, link.removeprefix(f"https://{NAME}"))
    status, *lines = answer.stdout.splitlines()
    assert " 303" in status, answer.stdout + answer.stderr + caddy.log.read_text()
    (cookie,) = [line for line in lines if line.lower().startswith("set-cookie: __host-remoteweb=")]
    assert {"secure", "httponly", "samesite=lax"} <= {word.strip().lower() for word in cookie.split(";")[1:]}
    return cookie.partition(": ")[2].partition(";")[0]


def test_a_link_lets_in_through_the_proxy_and_the_audit_log_knows_from_where(
    installed: Vps, caddy: Daemon
) -> None:
    cookie = signed_in(installed, caddy)
    answer = curl(caddy, installed, "/", "-H", f"Cookie: {cookie}", "-H", "X-Forwarded-For: 203.0.113.9")
    assert " 200" in answer.stdout.splitlines()[0]
    assert " 401" in curl(caddy, installed, "/").stdout.splitlines()[0]
    rows = json.loads(installed.did("remoteweb", "audit", "--json"))
    assert PHONE in {row["address"] for row in rows} <= {PHONE, ""}


@pytest.mark.parametrize(
    ("size", "length_is_told", "statuses"),
    [
        (256_000, True, {"303"}),
        # The pages refuse it and hang up; whether the proxy has their word by then, or its own, or none, is chance.
        (256_000, False, {"411", "502"}),  # they want a length
        (256_001, True, {"413", "502"}),
        (20_000_000, True, {"413", "502"}),
    ],
)
def test_what_is_larger_than_any_form_is_refused_and_the_pages_go_on(
    installed: Vps, caddy: Daemon, tmp_path: Path, size: int, length_is_told: bool, statuses: set[str]
) -> None:
    form = tmp_path / "form"
    form.write_bytes(b"x=" + b"y" * (size - 2))
    same = ["-H", f"Cookie: {signed_in(installed, caddy)}", "-H", "Sec-Fetch-Site: same-origin"]
    length = [] if length_is_told else ["-H", "Transfer-Encoding: chunked"]
    before = len(answered(caddy))
    curl(caddy, installed, "/sync", *same, *length, "--data-binary", f"@{form}")
    # Who goes on sending may not read the answer: what it was is in the proxy's log.
    wait_until(lambda: len(answered(caddy)) > before, "the proxy to say how it answered", 10)
    assert set(answered(caddy)[before:]) <= statuses
    assert curl(caddy, installed, "/", *same).stdout.split()[1] == "200"


def answered(caddy: Daemon) -> list[str]:
    return re.findall(r'"status": (\d+)', caddy.log.read_text())


def test_nobody_else_reaches_the_pages_and_no_other_name_does(installed: Vps, web: Daemon) -> None:
    path = "/run/remoteweb-web.sock"
    assert seen(installed, path)[path] == ("root", "caddy", 0o660)
    asked = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--unix-socket",
        path,
        "-H",
        "X-Forwarded-Proto: https",
    ]
    refused = installed.run(*asked, f"http://{NAME}/healthz", user="remoteweb-sync")
    assert refused.returncode == 7  # curl could not connect
    as_caddy = ["setpriv", "--reuid=caddy", "--regid=caddy", "--clear-groups", *asked]
    assert installed.did(*as_caddy, f"http://{NAME}/healthz") == "200"
    assert installed.did(*as_caddy, "http://evil.example/healthz") == "400"


def test_no_token_cookie_or_search_is_in_a_log_also_while_the_pages_are_away(
    installed: Vps, caddy: Daemon, web: Daemon
) -> None:
    secret = "canaryCanaryCanaryCanaryCanaryCanary"
    paths = [f"/enter/{secret}", f"/invited/{secret}", f"/?q={secret[:9]}"]
    for path in paths:
        curl(
            caddy,
            installed,
            path,
            "-H",
            f"Cookie: __Host-remoteweb={secret}",
            "-H",
            f"Referer: https://{NAME}/enter/{secret}",
        )
    web.freeze()
    try:
        for path in paths:
            curl(caddy, installed, path, "--max-time", "1")
    finally:
        web.thaw()
    text = caddy.log.read_text()
    assert text.count('"uri": "/enter/..."') >= 1 and "handled request" in text
    assert "canary" not in text.lower()
    assert "canary" not in web.log.read_text().lower()

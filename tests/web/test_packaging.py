"""The wheel and the editable install: each serves a page and makes its database, wherever it is started."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.sqlite

ROOT = Path(__file__).parents[2]
NOT_OF_THE_CHECKOUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache"
)
# What a person does first, without the network: the database is made, a link lets in, a page comes.
FIRST_PAGE = """
import json
from pathlib import Path
import remoteweb, remotejobs.shell
from remoteweb import access, create_app
from remoteweb.upgrade import upgrade_database

app = create_app()
upgrade_database(app)
with app.app_context():
    link = access.new_link("http://localhost")
client = app.test_client()
client.get(link)
page = client.get("/")
with client.get("/static/vendor/htmx-4.0.1.min.js") as script:
    size = len(script.data)
print(json.dumps({"status": page.status_code, "title": "<title>" in page.text, "script": size,
    "from": str(Path(remoteweb.__file__).parent), "sh": len(list(Path(remotejobs.__file__).parent.rglob("*.sh")))}))
"""


@dataclass
class Installed:
    python: Path
    folder: Path  # an empty one, to start commands in

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [str(self.python), *command],
            cwd=self.folder,
            env={**environment, "HOME": str(self.folder.parent / "home"), "XDG_STATE_HOME": "", **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def checkout(to: Path) -> Path:
    """The files that belong to the project, and nothing that an earlier build left."""
    if not (ROOT / ".git").exists():
        return Path(shutil.copytree(ROOT, to, ignore=NOT_OF_THE_CHECKOUT))
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # one that was removed and not yet committed is listed too
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("source") / "checkout")


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, which is built from the checkout: both have to be whole."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(out.glob("*.tar.gz"))) == 1
    return next(out.glob("*.whl"))


def environment(folder: Path, *what: str) -> Installed:
    """A virtual environment of its own, which sees the dependencies that the tests run with."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    # A path in a .pth file is searched last, and the .pth files in it are not read: not even an editable remoteweb.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    done = subprocess.run([*command, *what], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "empty").mkdir()
    (folder / "home").mkdir()
    return Installed(python, folder / "empty")


@pytest.fixture(scope="module")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return environment(tmp_path_factory.mktemp("wheel"), str(wheel))


@pytest.fixture(scope="module")
def editable(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return environment(tmp_path_factory.mktemp("editable"), "--no-build-isolation", "-e", str(source))


@pytest.fixture(params=["from_wheel", "editable"])
def installed(request: pytest.FixtureRequest) -> Installed:
    made: Installed = request.getfixturevalue(request.param)
    return made


def test_an_installed_one_makes_its_database_and_serves_a_page(installed: Installed) -> None:
    done = installed.run("-W", "error", "-c", FIRST_PAGE)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert str(ROOT) != str(Path(answer.pop("from")).parent)
    assert answer.pop("sh") == len(list((ROOT / "remotejobs").rglob("*.sh"))) >= 3
    assert answer == {"status": 200, "title": True, "script": 37448}
    assert list(installed.folder.iterdir()) == []  # nothing is written where it was started
    assert (installed.folder.parent / "home/.local/state/remoteweb/remoteweb.sqlite").is_file()


def test_the_wheel_holds_every_file_that_is_used_and_none_that_is_not(wheel: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"wsgi.py", "remoteweb/access/common_passwords.txt"}
    for path in source.rglob("*"):
        name = path.relative_to(source)
        if path.is_file() and name.parts[0] in ("static", "templates", "migrations"):
            wanted.add(f"remoteweb/{name.as_posix()}")
        elif path.suffix in (".py", ".sh") and name.parts[0] in ("remotejobs", "remoteweb"):
            wanted.add(name.as_posix())
    wanted = {name for name in wanted if "__pycache__" not in name}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert {"remoteweb/migrations/0001_first_tables.py", "remotejobs/schedulers/slurm.sh"} <= wanted
    assert any(name.endswith("/LICENSE") for name in names)


@pytest.mark.parametrize("beside", ["app.py", "wsgi.py"])
def test_its_commands_work_in_any_folder(installed: Installed, beside: str, tmp_path: Path) -> None:
    here = Installed(installed.python, tmp_path / "work")
    here.folder.mkdir()
    (here.folder / beside).write_text("raise SystemExit('a foreign app was imported')\n")
    command = str(installed.python.with_name("remoteweb"))
    done = subprocess.run(
        [command, "update-database", "--help"], cwd=here.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: remoteweb update-database" in done.stdout
    if beside == "wsgi.py":
        return  # `flask` itself takes that one for its app: only `remoteweb` works there
    done = here.run("-m", "flask", "update-database", "--help", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "update-database [OPTIONS]" in done.stdout


def test_a_wrong_setting_is_a_sentence_and_no_traceback(installed: Installed) -> None:
    done = installed.run("-m", "remoteweb", "sources", REMOTEWEB_SYNC_NOV="on")
    assert done.returncode == 1
    assert (
        done.stderr.strip() == "Error: REMOTEWEB_SYNC_NOV is not a setting. Did you mean REMOTEWEB_SYNC_NOW?"
    )

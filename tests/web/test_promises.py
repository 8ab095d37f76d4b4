"""What the design, the documents and file names promise."""

import ast
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remoteweb import config, create_app

pytestmark = pytest.mark.sqlite

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SOURCES = sorted(
    [ROOT / "wsgi.py", *(ROOT / "remotejobs").rglob("*.py"), *(ROOT / "remoteweb").rglob("*.py")]
)
README = ROOT / "README.md"

# The edges: where a person's request comes in. What lies below them knows nothing of them.
PAGES = (
    "remoteweb.jobs",
    "remoteweb.servers",
    "remoteweb.sync",
    "remoteweb.access",
    "remoteweb.audit_page",
    "remoteweb.health",
    "remoteweb.rights",
)
COMMANDS = (
    "remoteweb.__main__",
    "remoteweb.cli",
    "remoteweb.commands",
    "remoteweb.audit_command",
    "remoteweb.list_commands",
    "remoteweb.update_command",
    "remoteweb.attended",
    "remoteweb.dry_run",
    "remoteweb.user_commands",
    "remoteweb.terminal",
    "remoteweb.serve",
    "remoteweb.web",
    "remoteweb.database_commands",
    "remoteweb.key_commands",
    "remoteweb.host_key_commands",
)
WORKER = "remoteweb.sync.worker"
WEB = (
    "flask",
    "flask_sqlalchemy",
    "flask_alembic",
    "sqlalchemy",
    "alembic",
    "gunicorn",
    "werkzeug",
    "jinja2",
)
SSH = ("fabric", "paramiko", "invoke")
# The files that open connections: with them stands everything that a test of a hostile server looks at.
CONNECTING = ("remotejobs.shell", "remotejobs.link", "remotejobs.logins", "remotejobs.hostkeys")
CONNECTING = (*CONNECTING, "remotejobs.aliases", "remotejobs.conversation", "remotejobs.offers")
CONNECTING = (*CONNECTING, "remotejobs.keyfiles", "remotejobs.agent", "remotejobs.keyboard")
CONNECTING = (*CONNECTING, "remotejobs.keyquery", "remotejobs.transport")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module that the file names in an import, also inside its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, (
                f"{path}: imports are written out, so that arrows can be read"
            )
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module


MODULES = {module_name(path): path for path in SOURCES}
IMPORTS = {name: set(imports(path)) for name, path in MODULES.items()}


def under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def arrows(of: tuple[str, ...], to: tuple[str, ...], but_for: tuple[str, ...] = ()) -> list[str]:
    """The imports that go from modules `of` to modules `to`."""
    return [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        if under(name, of) and not under(name, but_for)
        for other in sorted(others)
        if under(other, to) and not under(other, of)
    ]


def test_the_arrows_are_read_at_all() -> None:
    assert arrows(("remoteweb.models",), ("remoteweb",)) == [
        "remoteweb.models imports remoteweb.accounts",
        "remoteweb.models imports remoteweb.database",
    ]
    assert arrows(("remoteweb.collector",), ("remotejobs",))


def test_the_library_knows_nothing_of_the_web() -> None:
    # One of its sinks takes a table of SQLAlchemy, from whoever has one; it imports it only then.
    assert arrows(("remotejobs",), ("remoteweb", *WEB), but_for=("remotejobs.sinks.table",)) == []
    assert arrows(("remotejobs.sinks.table",), ("remoteweb", *set(WEB) - {"sqlalchemy"})) == []


def test_only_the_files_that_connect_import_an_ssh_library() -> None:
    assert arrows(("remotejobs", "remoteweb", "wsgi"), SSH, but_for=CONNECTING) == []


def test_the_tables_lie_at_the_bottom() -> None:
    assert arrows(("remoteweb.database",), ("remoteweb",)) == ["remoteweb.database imports remoteweb.config"]
    assert (
        arrows(("remoteweb.config", "remoteweb.paths", "remoteweb.version"), ("remoteweb", "remotejobs"))
        == []
    )


def test_what_lies_below_pages_and_commands_does_not_know_them() -> None:
    below = tuple(
        name for name in MODULES if name.startswith("remoteweb.") and not under(name, (*PAGES, *COMMANDS))
    )
    assert "remoteweb.collector" in below
    assert arrows(below, (*PAGES, *COMMANDS)) == []


def test_pages_never_reach_for_a_server() -> None:
    servers = (*CONNECTING, "remotejobs.exchange", "remoteweb.collector", "remoteweb.connect")
    assert arrows(PAGES, servers, but_for=(WORKER,)) == []


def test_pages_never_open_what_is_sealed() -> None:
    opens = ("remoteweb.sealing", "remoteweb.key_making")
    assert arrows(PAGES, opens, but_for=(WORKER,)) == []
    # Nor does what pages and worker have in common: a page would have it in its process.
    assert arrows(("remoteweb.made_keys", "remoteweb.key_lines", "remoteweb.logins"), opens) == []


def test_who_may_come_in_depends_on_nothing_that_is_shown() -> None:
    assert arrows(("remoteweb.access",), ("remoteweb.jobs", "remoteweb.sync", "remotejobs")) == []


def test_only_a_start_joins_the_parts() -> None:
    joins = {name for name, others in IMPORTS.items() if "remoteweb" in others}
    assert joins <= {"wsgi", "remoteweb.cli"}


@pytest.mark.parametrize(
    ("start", "absent"),
    [
        ("import remotejobs", {*WEB, "remoteweb", "fabric", "paramiko"}),
        ("import remotejobs.shell", {*WEB, "remoteweb"}),
        ("import remotejobs.sinks", {*WEB, "remoteweb", "psycopg", "fabric", "paramiko"}),
        (
            "import remoteweb; remoteweb.create_app()",
            {"fabric", "paramiko", "gunicorn", "fido2", "segno", "cryptography"},
        ),
    ],
)
def test_a_start_loads_no_more_than_it_needs(start: str, absent: set[str]) -> None:
    code = f"import sys; {start}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not absent & set(done.stdout.split())


# Dead, and silently so, under our Content-Security-Policy; or a way out of escaping; or somebody else's server.
FORBIDDEN_IN_TEMPLATES = {
    "an hx-on handler": r"hx-on\b",
    "inline style": r"\sstyle\s*=",
    "a style element": r"<style\b",
    "inline script": r"<script\b(?![^>]*\ssrc=)",
    "an on… handler": r"\son[a-z]+\s*=",
    "a js: value": r"\bj(ava)?s(cript)?:",
    "a trigger filter": r"hx-trigger\s*=\s*(\"[^\"]*\[|'[^']*\[)",
    "hx-vars": r"hx-vars\b",
    "an unescaped value": r"\|\s*safe\b|\bautoescape\s+false\b",
    "another server": r"(?:src|href|action|hx-[a-z]+)\s*=\s*[\"']\s*(?:https?:)?//",
}


@pytest.mark.parametrize("what", FORBIDDEN_IN_TEMPLATES)
def test_no_template_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN_IN_TEMPLATES[what], re.IGNORECASE)
    assert TEMPLATES
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}"
        for path in TEMPLATES
        for match in pattern.finditer(re.sub(r"{#.*?#}", "", path.read_text(), flags=re.DOTALL))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("an hx-on handler", '<b hx-on:click="x()">'),
        ("inline style", '<b class="a" style="width: 1px">'),
        ("inline script", "<script>alert(1)</script>"),
        ("an on… handler", '<b onclick="x()">'),
        ("a js: value", '<b hx-vals="js:{a: 1}">'),
        ("a js: value", '<a href="javascript:x()">'),
        ("a trigger filter", '<b hx-trigger="every 5s [document.hidden]">'),
        ("an unescaped value", "{{ job.name|safe }}"),
        ("another server", '<script src="https://cdn.example/htmx.js">'),
        ("another server", '<img src="//cdn.example/a.png">'),
    ],
)
def test_the_search_of_the_templates_finds(what: str, text: str) -> None:
    assert re.search(FORBIDDEN_IN_TEMPLATES[what], text, re.IGNORECASE)


# Where Markup is made of more than a literal, because a page has hundreds of it: words of ours, and numbers.
MADE_BY_HAND = {"remoteweb/jobs/markup.py", "remoteweb/jobs/times.py"}


def test_python_hands_no_unescaped_text_to_a_page() -> None:
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            # Markup of a literal is a template of its own: what `.format` puts into it is escaped.
            literal = all(isinstance(argument, ast.Constant) for argument in node.args)
            if name == "render_template_string" or (name == "Markup" and not literal):
                found.add(path.relative_to(ROOT).as_posix())
    assert found <= MADE_BY_HAND


def vendored() -> dict[str, list[str]]:
    lines = (ROOT / "static/vendor/VENDOR.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0]: row for row in rows[2:]}


def test_every_vendored_file_is_the_one_that_is_named() -> None:
    files = {path.name for path in (ROOT / "static/vendor").iterdir()} - {"VENDOR.md"}
    table = vendored()
    assert set(table) == {name for name in files if not name.endswith(".LICENSE")}
    for name, (_, _, version, licence, origin, digest) in table.items():
        assert f"-{version}." in name
        assert licence.partition(", ")[2] in files
        assert "npm `" in origin
        assert hashlib.sha256((ROOT / "static/vendor" / name).read_bytes()).hexdigest() == digest, name


def test_pages_load_the_vendored_files_by_their_name() -> None:
    text = "".join(path.read_text() for path in TEMPLATES)
    for name in vendored():
        if name.endswith(".js"):
            assert f"vendor/{name}" in text


def test_every_setting_is_documented_as_it_is() -> None:
    lines = set((ROOT / "docs/settings.md").read_text().splitlines())
    assert [row for row in map(config.table_row, config.SETTINGS.values()) if row not in lines] == []
    documented = {line.split("`")[1] for line in lines if line.startswith("| `REMOTEWEB_")}
    assert documented == {config.PREFIX + name for name in config.SETTINGS}


def test_every_setting_is_read_and_nothing_else_is_taken_for_one() -> None:
    text = "".join(path.read_text() for path in SOURCES if path.name != "config.py")
    flasks_own = {"ALEMBIC", "ALEMBIC_CONTEXT", "SQLALCHEMY_ENGINE_OPTIONS"}
    assert set(re.findall(r"config\[\"([A-Z_]+)\"\]", text)) - flasks_own <= set(config.SETTINGS)
    assert [name for name in config.SETTINGS if f'"{name}"' not in text] == []


# The library's own, for a shell user who needs no Python.
LIBRARY_COMMANDS = ("submit", "list", "state", "cancel", "resubmit", "clean", "prune")


def test_every_command_has_help(home: Path) -> None:
    app = create_app()
    assert {"update-database", "serve", "link", "sync-worker", "forget-source"} <= set(app.cli.commands)
    for name, command in app.cli.commands.items():
        assert (command.help or "").partition("\n\n")[0].endswith("."), name


@pytest.mark.parametrize("name", LIBRARY_COMMANDS)
def test_every_command_of_the_library_has_help(name: str) -> None:
    code = "import sys; from remotejobs.command import main; sys.exit(main())"
    command = [sys.executable, "-c", code, name, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout


def test_no_command_in_the_readme_names_a_servers_home_where_the_readers_shell_would_put_its_own() -> None:
    commands = re.findall(r"^remotejobs .*--server.*", README.read_text(), re.M)
    assert commands
    for command in commands:
        assert [word for word in command.split("#")[0].split() if word.startswith("~")] == []


def test_every_command_is_in_the_readme(home: Path) -> None:
    ours = [f"remoteweb {name}" for name in create_app().cli.commands]
    text = README.read_text()
    assert [
        name for name in (*ours, *(f"remotejobs {name}" for name in LIBRARY_COMMANDS)) if name not in text
    ] == []


def test_every_test_that_the_security_rows_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text()))
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.M)
    }
    assert len(named) > 80
    assert sorted(named - written) == []


def test_what_the_documents_of_security_refer_to_is_there() -> None:
    for name in ("SECURITY.md", "docs/security.md", "docs/threat-model.md"):
        path = ROOT / name
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / link).is_file(), (name, link)


def test_each_exception_to_the_rules_of_safety_says_why() -> None:
    exception = re.compile(r"# noqa: (?:\w+, )*S[0-9]+(.*)")
    for path in [*SOURCES, *(ROOT / "migrations").glob("*.py")]:
        for line in path.read_text().splitlines():
            if found := exception.search(line):
                assert re.search(r"[a-z]{2,}", found[1]), f"{path.name}: {line.strip()}"
    settings = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^select = .*"S"', settings, re.M) and 'exclude = ["migrations' not in settings

"""What is asked of a job: the settings dict, its hash, and the document that becomes its record on the server."""

import hashlib
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from remotejobs.errors import BadInput
from remotejobs.schedulers import SCHEDULERS

# Asked of the scheduler; not part of the hash, so that "again with more" stays the same work.
OPTIONS = ("walltime", "cores", "memory", "gpus", "partition", "account", "qos", "extra")
MEMBERS = (
    *("name", "command", "arguments", "environment", "before", "after", "local_path", "remote_path"),
    *("scheduler", "shell", "options", "script"),
)
SCRIPT_LIMIT = 256 * 1024  # bytes of a script whose text is kept
DOCUMENT_LIMIT = (
    1_000_000  # bytes; of a file above 1 MiB the server would tell nothing, and it adds lines of its own
)
_WALLTIME = re.compile(r"(?:([0-9]{1,4})-)?([0-9]{1,5}):([0-9]{2})(?::([0-9]{2}))?\Z", re.ASCII)
_MEMORY = re.compile(r"([0-9]{1,9})([MGT])B?\Z", re.ASCII | re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z", re.ASCII)
_SHELL = re.compile(r"/[A-Za-z0-9/._-]+( -l)?\Z", re.ASCII)
# A path and plain words can replace their shell (`exec`), so that signals reach the program itself.
_PLAIN_COMMAND = re.compile(r"[A-Za-z0-9_@%+=:,./~ \"'-]+\Z", re.ASCII)


def create(
    local_path: str | os.PathLike[str] | None,
    remote_path: str | None,
    command: str,
    arguments: list[str] | tuple[str, ...],
    before: str,
    after: str,
    environment: dict[str, str],
    *,
    name: str = "",
    scheduler: str = "auto",
    shell: str = "/bin/bash -l",
    **options: Any,
) -> dict[str, Any]:
    """The settings of a job, checked. Raises BadInput with a sentence."""
    unknown = set(options) - set(OPTIONS)
    if unknown:
        raise BadInput(f"There is no option {sorted(unknown)[0]!r}. The options are: {', '.join(OPTIONS)}.")
    if not command or not command.strip():
        raise BadInput("A job needs a command, for instance './run.sh' or 'python train.py'.")
    if scheduler != "auto" and scheduler not in SCHEDULERS:
        raise BadInput(f"There is no scheduler {scheduler!r}. Use auto, {' or '.join(SCHEDULERS)}.")
    if not _SHELL.match(shell):
        raise BadInput(
            f"{shell!r} cannot be a job's shell: give the path of a POSIX shell, for instance /bin/bash -l."
        )
    if local_path is not None and not Path(local_path).is_dir():
        raise BadInput(f"{str(local_path)!r} is not a folder here, so it cannot be copied to the server.")
    if local_path is not None and remote_path is None:
        raise BadInput("A local path was given to be copied, and no remote path to copy it to.")
    if remote_path is None and _is_beside(command):
        raise BadInput(
            f"{command!r} would be looked for in the job's own folder, which is empty: say where it lies (a remote path), "
            "or give a folder to copy there as well (a local path)."
        )
    settings = {
        "name": name or _name_from(command),
        "command": command,
        "arguments": [str(argument) for argument in arguments],
        "environment": _checked_environment(environment),
        "before": before or "",
        "after": after or "",
        "local_path": None if local_path is None else str(local_path),
        "remote_path": remote_path,
        "scheduler": scheduler,
        "shell": shell,
        "options": _checked_options(options),
        "script": None,
    }
    _refuse_what_no_file_can_hold(settings)
    return settings


def work_hash(settings: dict[str, Any]) -> str:
    """Equal work gets the same 32 hex digits, for ever (a test vector keeps it): resources are not in it."""
    work = [
        settings["command"],
        settings["arguments"],
        dict(sorted(settings["environment"].items())),
        settings["before"],
        settings["after"],
        settings["remote_path"],
        _input_of(settings["local_path"]),
    ]
    text = json.dumps(work, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _input_of(local_path: str | None) -> list[tuple[str, int, int]] | None:
    """`[relative path, size, mtime in whole seconds]` of every file that would be copied."""
    if local_path is None:
        return None
    root = Path(local_path)
    files = []
    for folder, _folders, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            status = path.lstat()
            files.append((str(path.relative_to(root)), status.st_size, int(status.st_mtime)))
    return sorted(files)


def script_path(settings: dict[str, Any]) -> str | None:
    """The file that the command runs, if it names one: relative to the path, or absolute."""
    first = _words(settings["command"])[:1]
    return first[0] if first and "/" in first[0] else None


def _is_beside(command: str) -> bool:
    """It names a file relative to where the job runs, and goes nowhere else first."""
    first = (_words(command) or [""])[0]
    return "/" in first and not first.startswith(("/", "~", "$")) and "=" not in first


def local_script(settings: dict[str, Any]) -> str | None:
    """The text of the person's script, where it lies here and is one."""
    path = script_path(settings)
    if settings["local_path"] is None or path is None or path.startswith(("/", "~")):
        return None
    file = Path(settings["local_path"]) / path
    if not file.is_file() or file.stat().st_size > SCRIPT_LIMIT:
        return None
    return script_text(file.read_bytes())


def script_text(content: bytes) -> str | None:
    """The text, if it is one that can be kept and written back as it was."""
    if len(content) > SCRIPT_LIMIT or not content.startswith(b"#!"):
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def document(settings: dict[str, Any]) -> str:
    """The record's JSON text: one member per line, since a shell takes the ones that it needs out of it again."""
    scheduler = SCHEDULERS[settings["scheduler"]]()
    lines = scheduler.head(settings["options"], settings["name"], settings["script"] or "")
    members = {name: settings[name] for name in MEMBERS}
    members |= {
        "header": "".join(line + "\n" for line in lines),
        "job": job_text(settings, scheduler.environment(settings["name"])),
    }
    body = ",\n".join(f"{_json(name)}: {_json(value)}" for name, value in members.items())
    text = "{\n" + body + "\n}\n"
    if len(text.encode()) > DOCUMENT_LIMIT:
        raise BadInput(
            f"The settings of this job take more than {DOCUMENT_LIMIT} bytes, which is more than can be kept of a job: put "
            "long arguments, environment variables and texts into a file that the job reads."
        )
    return text


def job_text(settings: dict[str, Any], set_by_scheduler: dict[str, str]) -> str:
    """The part of the job's script that differs from job to job; wrapper.sh calls its functions."""
    path, exports = settings["remote_path"], {**set_by_scheduler, **settings["environment"]}.items()
    words = [settings["command"], *(shlex.quote(argument) for argument in settings["arguments"])]
    return "\n".join(
        [
            *(f"export {name}={shlex.quote(value)}" for name, value in exports),
            f"remotejobs_place() {{ {'cd -- ' + _remote(path) if path else ':'}; }}",
            # eval: a mistake in these lines must not keep the script from being read, or no exit would be noted.
            f"remotejobs_before() {{ eval {shlex.quote(settings['before'] or ':')}; }}",
            f"remotejobs_after() {{ eval {shlex.quote(settings['after'] or ':')}; }}",
            *_command_function(settings, words),
            "",
        ]
    )


def _command_function(settings: dict[str, Any], words: list[str]) -> list[str]:
    command, path = settings["command"], script_path(settings)
    if path is None or not _PLAIN_COMMAND.match(command):
        # Whatever a shell takes: a builtin, a pipe, an assignment before a program. With a single program in it, bash and
        # dash replace themselves by that program, so that signals reach it here as well.
        shell = settings["shell"].split()[0]
        text = command + (' "$@"' if words[1:] else "")
        return [
            f"remotejobs_command() {{ exec {shell} -c {shlex.quote(text)} {shell} {' '.join(words[1:])}; }}"
        ]
    run = f"exec {' '.join(words)}"
    if settings["script"] is None:
        return [f"remotejobs_command() {{ {run}; }}"]
    # The kept script is what runs: in its place while it is unchanged there (it may look beside itself), else the copy.
    rest = " ".join([*(shlex.quote(word) for word in _words(command)[1:]), *words[1:]])
    told = f"remotejobs: {path} is not there as it was submitted; the kept copy runs."
    return [
        "remotejobs_command() {",
        f'  if cmp -s {_remote(path)} "$remotejobs_run/command"; then {run}; fi',
        f"  echo {shlex.quote(told)} >&2",
        f'  exec "$remotejobs_run/command" {rest}',
        "}",
    ]


def _remote(path: str) -> str:
    """Quoted, with a leading ~/ as the home directory over there."""
    if path == "~" or path.startswith("~/"):
        return '"$HOME"' + (shlex.quote(path[1:]) if path[1:] else "")
    return shlex.quote(path)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _name_from(command: str) -> str:
    first = (_words(command) or [command])[0]
    return first.rstrip("/").rsplit("/", 1)[-1][:100] or "job"


def _checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """Without the empty ones; walltime in seconds, memory in MB. What else a scheduler refuses, its `header` says."""
    given = {option: value for option, value in options.items() if value not in (None, "", [])}
    if isinstance(time := given.get("walltime"), str) and not time.isdecimal():
        match = _WALLTIME.match(time)
        if not match:
            raise BadInput(f"walltime is {time!r}: give seconds, or hours as HH:MM:SS, or D-HH:MM:SS.")
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        given["walltime"] = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if isinstance(memory := given.get("memory"), str) and not memory.isdecimal():
        match = _MEMORY.match(memory)
        if not match:
            raise BadInput(
                f"memory is {memory!r}: give megabytes, or a number with M, G or T, for instance 4G."
            )
        given["memory"] = int(match[1]) * {"M": 1, "G": 1024, "T": 1024 * 1024}[match[2].upper()]
    return given


def _checked_environment(environment: dict[str, str]) -> dict[str, str]:
    for name in environment:
        if not _VARIABLE.match(name):
            raise BadInput(f"{name!r} cannot be the name of an environment variable.")
    return {name: str(value) for name, value in environment.items()}


def _refuse_what_no_file_can_hold(settings: dict[str, Any]) -> None:
    try:
        text = _json(settings)
        text.encode()
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise BadInput(f"The settings cannot be written down: {error}.") from error
    if "\\u0000" in text:
        raise BadInput("The settings hold a NUL character, which no command and no file name can have.")
    if "\n" in settings["name"]:
        raise BadInput("The name of a job has to be one line.")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

"""What is asked of a job: the settings dict, checked, and its hash. document.py makes the record and the script of it."""

import hashlib
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from remotejobs.errors import BadInput
from remotejobs.schedulers import SCHEDULERS
from remotejobs.schedulers.base import number_option, word_option
from remotejobs.schedulers.sbatch import PARTITIONS

# Asked of the scheduler; not part of the hash, so that "again with more" stays the same work.
OPTIONS = ("walltime", "cores", "memory", "gpus", "partition", "account", "qos", "extra")
# Of these, what a job that is run again may be given anew, and the most of it; 0: it is a word.
CHANGEABLE = {"walltime": 10**9, "memory": 10**9, "cores": 10**6, "partition": 0}
SCRIPT_LIMIT = 256 * 1024  # bytes of a script whose text is kept
_WALLTIME = re.compile(r"(?:([0-9]{1,4})-)?([0-9]{1,5}):([0-9]{2})(?::([0-9]{2}))?\Z", re.ASCII)
_MEMORY = re.compile(r"([0-9]{1,9})([MGT])B?\Z", re.ASCII | re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z", re.ASCII)
_SHELL = re.compile(r"/[A-Za-z0-9/._-]+( -l)?\Z", re.ASCII)


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


def changes(**options: Any) -> tuple[str, ...]:
    """What a job that is run again may use instead, as a request says it: "walltime=3600". Raises BadInput."""
    unknown = set(options) - set(CHANGEABLE)
    if unknown:
        raise BadInput(f"{sorted(unknown)[0]} cannot be changed, only {', '.join(CHANGEABLE)}.")
    given = _checked_options(options)
    for name, limit in CHANGEABLE.items():
        if limit and (number := number_option(given, name, limit)) is not None:
            given[name] = number
    word_option(given, "partition", PARTITIONS)
    return tuple(f"{name}={given[name]}" for name in CHANGEABLE if name in given)


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
    first = words_of(settings["command"])[:1]
    return first[0] if first and "/" in first[0] else None


def _is_beside(command: str) -> bool:
    """It names a file relative to where the job runs, and goes nowhere else first."""
    first = (words_of(command) or [""])[0]
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


def words_of(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _name_from(command: str) -> str:
    first = (words_of(command) or [command])[0]
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
        text = json_text(settings)
        text.encode()
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise BadInput(f"The settings cannot be written down: {error}.") from error
    if "\\u0000" in text:
        raise BadInput("The settings hold a NUL character, which no command and no file name can have.")
    if "\n" in settings["name"]:
        raise BadInput("The name of a job has to be one line.")


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

"""The document that becomes a job's record on the server, and the part of its script that differs from job to job."""

import re
import shlex
from typing import Any

from remotejobs.errors import BadInput
from remotejobs.schedulers import SCHEDULERS
from remotejobs.settings import json_text, script_path, words_of

MEMBERS = (
    *("name", "command", "arguments", "environment", "before", "after", "local_path", "remote_path"),
    *("scheduler", "shell", "options", "script"),
)
# Bytes: of a file above 1 MiB the server would tell nothing, and it adds lines of its own.
DOCUMENT_LIMIT = 1_000_000
# A path and plain words can replace their shell (`exec`), so that signals reach the program itself.
_PLAIN_COMMAND = re.compile(r"[A-Za-z0-9_@%+=:,./~ \"'-]+\Z", re.ASCII)


def document(settings: dict[str, Any]) -> str:
    """The record's JSON text: one member per line, since a shell takes the ones that it needs out of it again."""
    scheduler = SCHEDULERS[settings["scheduler"]]()
    lines = scheduler.head(settings["options"], settings["name"], settings["script"] or "")
    members = {name: settings[name] for name in MEMBERS}
    members |= {
        "header": "".join(line + "\n" for line in lines),
        "job": job_text(settings, scheduler.environment(settings["name"])),
    }
    body = ",\n".join(f"{json_text(name)}: {json_text(value)}" for name, value in members.items())
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
    rest = " ".join([*(shlex.quote(word) for word in words_of(command)[1:]), *words[1:]])
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

"""What was asked for, read from a job's record. The record came from a server: nothing about its shape is certain."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from remoteweb.jobs.times import duration
from remoteweb.models import Job

# In the order of the page.
RESOURCES = {
    "walltime": "Time limit",
    "cores": "Cores",
    "memory": "Memory",
    "gpus": "GPUs",
    "partition": "Partition",
    "account": "Account",
    "qos": "QOS",
}
# Any options of the scheduler, as they were typed: values of the environment too (`--export`).
FREE = {"extra": "Also"}


def document(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def resources(job: Job, settings: dict[str, Any], *, looks_only: bool) -> list[tuple[str, str]]:
    """Title and value of each resource, with the partition that it got where it asked for none.

    Who `looks_only` is not shown the free options.
    """
    options = settings.get("options")
    given = dict(options) if isinstance(options, dict) else {}
    given.setdefault("walltime", job.limit)
    given.setdefault("partition", job.partition)
    return resources_of(given, RESOURCES if looks_only else RESOURCES | FREE)


def resources_of(given: Mapping[str, Any], titles: Mapping[str, str] = RESOURCES) -> list[tuple[str, str]]:
    return [(title, _said(name, given[name])) for name, title in titles.items() if given.get(name)]


def _said(name: str, value: object) -> str:
    number = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else None
    if name == "walltime" and number is not None:
        return duration(number)
    if name == "memory" and number is not None:
        return f"{number / 1024:g} GB" if number >= 1024 else f"{number} MB"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def commands(settings: dict[str, Any]) -> str:
    """What runs, as a person would type it: the lines before, the command with its arguments, the lines after."""
    arguments, environment = settings.get("arguments"), settings.get("environment")
    words = [str(settings.get("command") or "")]
    if isinstance(arguments, list):
        words += [shlex.quote(str(argument)) for argument in arguments]
    lines = [f"cd {settings['remote_path']}"] if settings.get("remote_path") else []
    if isinstance(environment, dict):
        lines += [f"export {name}={shlex.quote(str(value))}" for name, value in environment.items()]
    lines += [str(settings.get("before") or ""), " ".join(words), str(settings.get("after") or "")]
    return "\n".join(line for line in lines if line.strip())

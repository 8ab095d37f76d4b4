"""Other limits for a job that is run again: read from the form, and said to a person."""

import json
from collections.abc import Mapping
from typing import Any

from remotejobs.errors import BadInput
from remotejobs.settings import CHANGEABLE, changes
from remoteweb.jobs.asked import resources_of
from remoteweb.models import Action, Job

# Name, title, an example, and which keys a phone shows first.
FIELDS = (
    ("walltime", "Time limit", "8:00, or with days 1-12:00", "text"),
    ("memory", "Memory", "for example 16G", "text"),
    ("cores", "Cores", "for example 4", "numeric"),
    ("partition", "Partition", "its name", "text"),
)
LONGEST = 100  # characters
_TIME = "Write the time limit as hours and minutes, 8:00, or with days, 1-12:00."


def can_change(job: Job) -> bool:
    """A plain process has no limits."""
    return job.scheduler != "process"


def read(form: Mapping[str, str]) -> dict[str, str]:
    """What was typed, in the words of a request: {"walltime": "28800"}; an empty field stays as it was. Raises BadInput."""
    typed = {name: form.get(name, "").strip() for name in CHANGEABLE}
    if any(len(text) > LONGEST for text in typed.values()):  # cut, it would be another one than was asked for
        raise BadInput(f"A limit has at most {LONGEST} characters. Nothing was asked for.")
    given = {name: text for name, text in typed.items() if text}
    if given.get("walltime", ":").isdecimal():  # seconds, to a script; a person on a phone means hours
        raise BadInput(_TIME)
    try:
        pairs = [pair.partition("=") for pair in changes(**given)]
    except BadInput as error:
        raise BadInput(_TIME if str(error).startswith("walltime") else str(error)) from error
    return {name: value for name, _, value in pairs}


def said(action: Action) -> str:
    """ "time limit 8 h, memory 16 GB", or nothing."""
    return ", ".join(f"{title.lower()} {value}" for title, value in resources_of(of(action)))


def of(action: Action) -> dict[str, Any]:
    """As they were asked for. By another version, perhaps: nothing about their shape is certain."""
    if action.kind != "resubmit":
        return {}
    try:
        values = json.loads(action.values)
    except ValueError:
        return {}
    return {name: values[name] for name in CHANGEABLE if name in values} if isinstance(values, dict) else {}

"""What a person asks for, as `#SBATCH` lines, and the lines of a person's own script. Every word is checked."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from remotejobs.errors import BadInput
from remotejobs.schedulers.base import number_option, one_line, word_option

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
PARTITIONS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,-]{0,199}")

# They belong to the sbatch command of a person who waits for it, or make many jobs of one: not to a record of one job.
REFUSED = {
    "array": "a job array",
    "clusters": "a choice of cluster",
    "wait": "waiting for the end",
    "wrap": "a wrapped command",
    "hold": "a held start",
    "test-only": "a mere test",
}
_SHORT = {"a": "array", "M": "clusters", "W": "wait", "H": "hold"}
# Letters that sbatch lets stand before another one: `-Qa1-5` is an array. Behind any other letter comes its value. Those
# of k and s are optional, and not in every version of Slurm.
_FLAGS = "QOvVhuks"


def header(options: Mapping[str, Any], job_name: str) -> list[str]:
    lines = [f"--job-name={_quoted(one_line(job_name, 'The name of a job', 200))}"] if job_name else []
    if (seconds := number_option(options, "walltime")) is not None:
        lines.append(f"--time={_walltime(seconds)}")
    if (cores := number_option(options, "cores", 10**6)) is not None:
        lines += ["--ntasks=1", f"--cpus-per-task={cores}"]
    if (memory := number_option(options, "memory")) is not None:
        lines.append(f"--mem={memory}M")
    if (gpus := number_option(options, "gpus", 10**4)) is not None:
        lines.append(f"--gres=gpu:{gpus}")
    for name, alphabet in (("partition", PARTITIONS), ("account", _WORD), ("qos", _WORD)):
        if (word := word_option(options, name, alphabet)) is not None:
            lines.append(f"--{name}={word}")
    return [f"#SBATCH {line}" for line in [*lines, *_extra(options.get("extra"))]]


def directives(script: str) -> list[str]:
    """Slurm's own rule: up to the first line that is neither blank nor a comment."""
    found = []
    for line in script.split("\n"):
        text = line.rstrip("\r \t")
        if text.strip() and not text.lstrip(" \t").startswith("#"):
            break
        if re.match(r"#SBATCH[ \t]", text):
            found.append(f"#SBATCH {_allowed(one_line(text[7:].strip(), 'A #SBATCH line'))}")
    return found


def _walltime(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}-{hours % 24:02}:{minutes:02}:{rest:02}"


def _quoted(text: str) -> str:
    """As sbatch reads a quoted argument: a backslash keeps what follows it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _extra(lines: object) -> list[str]:
    if lines is None or lines == "":
        return []
    if isinstance(lines, str) or not isinstance(lines, Sequence):
        raise BadInput(
            "extra has to be a list of scheduler options, one per line, such as --constraint=haswell."
        )
    found = []
    for line in lines:
        text = one_line(line, "An extra scheduler option").strip().removeprefix("#SBATCH").strip()
        if not text.startswith("-"):
            raise BadInput(
                f"{text!r} is not an option of sbatch: it has to begin with a dash, such as --exclusive."
            )
        found.append(_allowed(text))
    return found


def _allowed(text: str) -> str:
    """The options of one line, if one record of one job can have them."""
    for token in _tokens(text):
        name = _long_option(token) if token.startswith("--") else _short_option(token)
        if name:
            raise BadInput(
                f"The script asks for {REFUSED[name]} (--{name}), which a job that is submitted here cannot have. "
                "Remove that #SBATCH option."
            )
    return text


def _tokens(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # an open quote: sbatch will say so in its own words
        return text.split()


def _short_option(token: str) -> str | None:
    """The refused option among the letters of the token, if it is one or more short options."""
    if not token.startswith("-"):
        return None
    return _SHORT.get(token[1:].lstrip(_FLAGS)[:1])


def _long_option(token: str) -> str | None:
    """The refused option that the token names; like getopt, sbatch takes any clear beginning of a name."""
    name = token[2:].partition("=")[0]
    return next((full for full in REFUSED if len(name) > 1 and full.startswith(name)), None)

"""The program at the other end: the parts of `probe/`, the schedulers' `.sh` files, and what every job carries around itself.

Sent along, it is packed into one argument (a heredoc would need room in the server's /tmp), with the parts that this exchange
needs. Installed once, it is the gate of a narrow key: a file with what such a key may do, and nothing else (gate.py).
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from remotejobs.schedulers import SCHEDULERS

PROTOCOL = "1"
_HERE = Path(__file__).resolve().parent
_READING = ("registry", "records", "sealed", "queue")
_CLEANING = ("cleaning", "seal", "trash", "prune")
_ACTING = ("cancel", "submit", "acting")
# Without those that take a script, look at other files, clean or prune. Its own way to read a request comes last.
_NARROW = ("person", *_READING, "beside", *_ACTING, "again", "log", "../gate/request", "main")


@cache
def command(acts: bool = True, whole: bool = False, cleans: bool = False, asks: bool = False) -> str:
    """The command line that runs the probe under any login shell (sh, bash, csh, fish), with the parts that are needed: `acts`
    for actions, `whole` for readers that keep no facts, `cleans` for cleanings, `asks` for questions.
    """
    parts = ["person", *_READING, *_ACTING] if acts or asks else [*_READING]
    parts += ["beside"] if whole else []
    parts += [*(["again", "new"] if acts else []), *(["questions", "log"] if asks else [])]
    parts += [*(_CLEANING if cleans else ()), "request", "main"]
    # A variable of that name in somebody's environment would make us say that we are a gate.
    return packed("GATE=\n" + _head(acts or asks) + _bare(_text(parts, acts or asks)))


@cache
def narrow() -> str:
    """The program of the gate, with its comments: whoever is to trust it may want to read it."""
    return _head(True) + _text(_NARROW, True)


def _head(acts: bool) -> str:
    head = f"KINDS='{' '.join(SCHEDULERS)}'\n"
    if acts:
        wrapper = (_HERE / "wrapper.sh").read_text().replace("'", "'\\''")
        head += f"remotejobs_wrapper='{wrapper}'\n"
    return head


def _text(parts: Iterable[str], acts: bool) -> str:
    schedulers = "".join(_verbs(name, acts) for name in SCHEDULERS)
    return schedulers + "".join((_HERE / "probe" / f"{name}.sh").read_text() for name in parts)


def _verbs(scheduler: str, acts: bool) -> str:
    text = (_HERE / "schedulers" / f"{scheduler}.sh").read_text()
    return text if acts else text.partition("\n# ---- acting")[0] + "\n"


def packed(program: str) -> str:
    """As one word between quotes that every login shell takes alike. The shell unpacks it without starting a process."""
    # A backslash, a quote, a line's end and csh's `!` mean different things to different shells between quotes.
    for character in "\\'!":
        program = program.replace(character, f"\\0{ord(character):03o}")
    word = program.replace("\n", "\\n")
    return f"""exec /bin/sh -c 'eval "$(printf %b "$1")"' sh '{word}'"""


def _bare(program: str) -> str:
    """Without comments, empty lines and indentation: none of them stands for itself in a text of ours."""
    return re.sub(r"(?m)^(?:[ ]+|[ ]*#.*\n|\n)+", "", program)

"""The program at the other end: the parts of `probe/`, the schedulers' `.sh` files, and what every job carries around itself.

Sent along, it is packed into one argument (a heredoc would need room in the server's /tmp), with the parts that this exchange
needs. Installed once, it is the gate of a narrow key: a file with what such a key may do, and nothing else (gate.py).
"""

import base64
import gzip
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from remotejobs.schedulers import SCHEDULERS

PROTOCOL = "1"
_HERE = Path(__file__).resolve().parent
_KINDS = f"KINDS='{' '.join(SCHEDULERS)}'\n"
# What a sync that finds nothing new runs comes first, and the rest as a text that is taken up where it is needed.
_FIRST = ("registry", "records", "request", "main")
_READING = ("facts", "buckets", "open", "sealed", "queue")
_CLEANING = ("cleaning", "seal", "trash", "prune")
_ACTING = ("cancel", "submit", "acting")
# Without those that take a script, look at other files, clean or prune. Its own way to read a request comes in the place of ours.
_NARROW = (
    "person",
    *_READING,
    "beside",
    *_ACTING,
    "again",
    "log",
    "registry",
    "records",
    "../gate/request",
    "main",
)
_ENTIRE = "entire=yes\n"


@cache
def command(
    acts: bool = True, whole: bool = False, cleans: bool = False, asks: bool = False, quiet: bool = False
) -> str:
    """The command line that runs the probe under any login shell (sh, bash, csh, fish), with the parts that are needed: `acts`
    for actions, `whole` for readers that keep no facts, `cleans` for cleanings, `asks` for questions. `quiet`: nothing new is
    expected, so that what would be needed for it is sent as small as it can be.
    """
    starts = acts or asks
    parts = [*_READING, *(_ACTING if starts else ()), *(["beside"] if whole else [])]
    parts += [*(["again", "new"] if acts else []), *(["questions", "log"] if asks else [])]
    parts += _CLEANING if cleans else ()
    rest = _wrapper() * starts + _bare(_verbs(starts) + _text(parts)) + _ENTIRE
    # Variables of these names in somebody's environment would make us say that we are a gate, or have all there is.
    first = f"GATE= entire=\n{_KINDS}{_bare(_text([*['person'] * starts, *_FIRST]))}"
    return _packed(first, rest, quiet=quiet)


@cache
def narrow() -> str:
    """The program of the gate, with its comments: whoever is to trust it may want to read it."""
    return _ENTIRE + _KINDS + _wrapper() + _verbs(True) + _text(_NARROW)


def packed(program: str) -> str:
    """A program alone, as the command line that runs it under any login shell."""
    return _packed(_bare(program), "", quiet=False)


def _wrapper() -> str:
    text = (_HERE / "wrapper.sh").read_text().replace("'", "'\\''")
    return f"remotejobs_wrapper='{text}'\n"


def _text(parts: Iterable[str]) -> str:
    return "".join((_HERE / "probe" / f"{name}.sh").read_text() for name in parts)


def _verbs(acts: bool) -> str:
    texts = [(_HERE / "schedulers" / f"{name}.sh").read_text() for name in SCHEDULERS]
    return "".join(text if acts else text.partition("\n# ---- acting")[0] + "\n" for text in texts)


# Without starting a process: the lines are put together by the shell's own splitting. A line's end between quotes means
# different things to different shells, and there is one in IFS.
_BOOT = 'set -f;n=${IFS#??};parted=\\`;IFS=$parted;rest=$2;set -- $1;IFS=$n;first="$*";unset IFS;set +f;eval "$first"'


def _packed(first: str, rest: str, *, quiet: bool) -> str:
    word = f"'{base64.b64encode(gzip.compress(rest.encode(), mtime=0)).decode()}'" if quiet else _word(rest)
    return f"exec /bin/sh -c '{_BOOT}' sh {_word(first)} {word}"


def _word(program: str) -> str:
    """As one word between quotes that every login shell takes alike."""
    if "`" in program:
        raise ValueError("a program of ours has a back quote, which parts its lines on their way")
    # A backslash, a quote and csh's `!` mean different things to different shells between quotes.
    return "'" + re.sub(r"[\\'!]", r"'\\\g<0>'", program.rstrip("\n").replace("\n", "`")) + "'"


def _bare(program: str) -> str:
    """Without comments, empty lines and indentation: none of them stands for itself in a text of ours."""
    return re.sub(r"(?m)^(?:[ ]+|[ ]*#.*\n|\n)+", "", program)

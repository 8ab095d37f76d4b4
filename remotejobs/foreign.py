"""Words of others (a server, a job's author), made fit to be shown to a person."""

import re

MAX_LINES = 24
# Control characters, line separators, and the marks that turn the direction of what follows: with them a job's name
# could forge a line of ours or send a code to a terminal.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")
_LINE_ENDS = re.compile(r"\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")


def line(value: object, limit: int = 200) -> str:
    """One line of text for a person, at most `limit` characters long."""
    text = _UNFIT.sub(" ", str(value)[: 4 * limit]).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def lines(value: str, limit: int = 200) -> str:
    """The same for at most MAX_LINES lines of `limit` characters each; empty ones at the ends are dropped."""
    parts = _LINE_ENDS.split(value[: 4 * limit * MAX_LINES], MAX_LINES)[:MAX_LINES]
    return "\n".join(line(part, limit) for part in parts).strip("\n")


def plain(error: object) -> str:
    """A library's or the server's own words, on one line and without what a terminal would act on."""
    words = " ".join(str(error).split()) or type(error).__name__
    return "".join(c for c in words if c.isprintable())[:200].rstrip(".")

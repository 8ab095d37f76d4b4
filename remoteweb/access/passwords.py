"""Passwords: how they are kept, and which are refused."""

import itertools
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

# scrypt with N = 2^15, r = 8, p = 3 (32 MB and about a quarter of a second), one of OWASP's equal choices.
METHOD = "scrypt:32768:8:3"
SHORTEST, LONGEST = 12, 1024
_EDGES = re.compile(r"^[^a-z]+|[^a-z]+$")


class WeakPassword(ValueError):
    """A sentence for the person."""


def hashed(password: str) -> str:
    return generate_password_hash(_normal(password), METHOD)


def matches(kept: str, password: str) -> bool:
    """Whether it is the one. With nothing kept it takes as long, and says no."""
    is_right = check_password_hash(kept or _nobodys(METHOD), _normal(password[: LONGEST + 1]))
    return is_right and bool(kept) and len(password) <= LONGEST


def refuse_weak(password: str, *names: str) -> None:
    """Length is what counts, and not to be among those that are tried first. `names`: what a guesser would begin with.

    Raises WeakPassword.
    """
    plain = _normal(password).casefold()
    if len(password) < SHORTEST:
        raise WeakPassword(
            f"A password has at least {SHORTEST} characters. Four words in a row are easy to remember."
        )
    if len(password) > LONGEST:
        raise WeakPassword(f"A password has at most {LONGEST} characters.")
    stem = _EDGES.sub("", plain)
    if len(set(plain)) < 5 or _is_run(plain) or {plain, stem, _repeated(plain), _repeated(stem)} & _common():
        raise WeakPassword(
            "That password is among the first that are guessed. Take one that nobody else would."
        )
    for name in (*names, "remoteweb"):
        if len(name) >= 4 and len(plain.replace(name.casefold(), "")) < SHORTEST // 2:
            raise WeakPassword("That password is mostly a name that stands on this page. Take another one.")


def _normal(password: str) -> str:
    # The same keys on two keyboards may send different code points. A lone surrogate cannot be encoded.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace").decode()


def _is_run(plain: str) -> bool:
    """123456789012, abcdefghijkl, and the same backwards."""
    steps = {
        (ord(b) - ord(a)) % 10 if (a + b).isdecimal() else ord(b) - ord(a)
        for a, b in itertools.pairwise(plain)
    }
    return len(steps) == 1


def _repeated(text: str) -> str:
    """What is repeated in it: "pass" of "passpasspass"."""
    return text[: ((text + text).find(text, 1))]


@lru_cache(maxsize=1)
def _common() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if not line.startswith("# "))


@lru_cache(maxsize=1)
def _nobodys(method: str) -> str:
    return generate_password_hash("of nobody", method)

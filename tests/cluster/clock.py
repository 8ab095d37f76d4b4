"""A clock of their own for the logins of an sshd: hours off, in another zone, or just before summer time ends."""

import time
from pathlib import Path

from cluster.parts import need
from cluster.sshd import Sshd


def set_clock(sshd: Sshd, seconds_off: float = 0.0, zone: str = "UTC") -> float:
    """Every later login of `sshd` has this clock, and so have the jobs that it starts. Gives how far it is off, in seconds."""
    need("libfaketime", "faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    off = round(seconds_off)
    sshd.set_environment(
        LD_PRELOAD=str(library), FAKETIME=f"{off:+d}", FAKETIME_DONT_FAKE_MONOTONIC="1", TZ=zone
    )
    return off


def off_by_being_at(moment: float) -> float:
    """How far off a clock is on which it is now this moment."""
    return moment - time.time()

"""A link that fails while an action is under way: it ends in time with a sentence, and the same action again settles it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from cluster.proxy import Direction, Fault, Kind, Proxy
from cluster.sshd import Sshd
from library.machines import APP, Machine
from library.once import ACTIONS, Place, new_token, settle, submission

from remotejobs import ActionUnknown, RemoteJobSubmitter
from remotejobs.destination import Destination
from remotejobs.errors import LoginError, Unreachable
from remotejobs.shell import SSHShell

STEP = int(os.environ.get("FAULT_STEP", "97"))  # bytes, in the long form
ENDLESS: tuple[Kind, ...] = ("silent", "half-silent")
PATIENCE = 20.0  # seconds, where the link itself says that it is over
SHORT = 1.5


@dataclass
class Scene(Place):
    """A server that is reached by a good link, and by one with a fault."""

    sshd: Sshd = field(kw_only=True)
    link: Proxy = field(kw_only=True)

    @contextmanager
    def faulty(self, fault: Fault | None) -> Iterator[RemoteJobSubmitter]:
        self.link.fault = fault
        line = f"[127.0.0.1]:{self.link.port} {self.sshd.host_key}"
        where = Destination("127.0.0.1", self.link.port, self.machine.home.owner())
        seconds = SHORT if fault and fault.kind in ENDLESS else PATIENCE
        keys = {"keys": [self.sshd.key], "allow_agent": False, "look_for_keys": False, "known_hosts": []}
        with Impatient(where, **keys, extra_host_keys=[line], connect_timeout=seconds) as shell:
            shell.seconds = seconds
            yield RemoteJobSubmitter(APP, shell=shell)


class Impatient(SSHShell):
    """A person who hangs up after `seconds`; the server is not told."""

    seconds = PATIENCE

    def run(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
        return super().run(*arguments, **(options | {"timeout": self.seconds}))  # type: ignore[arg-type]


@pytest.fixture
def scene(server: Machine, sshd: Sshd) -> Iterator[Scene]:
    with Proxy(sshd.port) as link:
        yield Scene(server, sshd=sshd, link=link)


def attempt(scene: Scene, action: str, fault: Fault | None) -> None:
    """The action over a link with this fault, then over a good one until its outcome is known."""
    token = new_token()
    act, is_so = ACTIONS[action](scene, token)
    began = time.monotonic()
    with scene.faulty(fault) as jobs:
        try:
            act(jobs)
        except (Unreachable, ActionUnknown) as error:
            assert not isinstance(error, LoginError)
            assert str(error).endswith((".", "?"))
    limit = SHORT if fault and fault.kind in ENDLESS else PATIENCE
    assert time.monotonic() - began < 2 * limit + 2
    assert fault is None or scene.link.is_struck or fault.at > scene.link.passed[fault.direction]
    settle(scene, token, act)
    is_so()


def size_of(scene: Scene, action: str) -> dict[Direction, int]:
    attempt(scene, action, None)
    passed = scene.link.passed
    scene.link.forget()
    return passed


# Where, of the bytes of the whole exchange: greeting, keys, login, the program and the request, the answer.
SOME_FAULTS: list[tuple[str, Kind, Direction, float]] = [
    ("submit", "cut", "from", 0.85),
    ("resubmit", "half-silent", "from", 0.75),
    ("cancel", "reset", "to", 0.5),
]


def test_the_same_action_over_a_good_link_settles_it(scene: Scene) -> None:
    size = size_of(scene, "submit")
    for action, kind, direction, part in SOME_FAULTS:
        attempt(scene, action, Fault(kind, direction, int(size[direction] * part)))
        assert scene.link.is_struck
        scene.link.forget()


def test_a_slow_link_is_no_broken_one(scene: Scene) -> None:
    act, is_so = submission(scene, new_token())
    with scene.faulty(Fault("throttle", "from", 0, 0.02)) as jobs:
        act(jobs)
    is_so()


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("direction", ["to", "from"])
@pytest.mark.parametrize("kind", ["cut", "reset", *ENDLESS])
@pytest.mark.parametrize("action", ACTIONS)
def test_at_every_byte_of_an_action_the_link_may_fail(
    scene: Scene, action: str, kind: Kind, direction: Direction
) -> None:
    size = size_of(scene, action)[direction]
    for at in range(0, size + STEP, STEP):
        attempt(scene, action, Fault(kind, direction, at))
        scene.link.forget()

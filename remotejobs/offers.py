"""The keys of one login, in the order in which they are tried."""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from remotejobs.agent import agent_keys
from remotejobs.errors import KeyLocked
from remotejobs.keyfiles import HeldKey, KeyFiles, Offer, held_offer, public_blob
from remotejobs.person import Person
from remotejobs.target import Target

FOUND_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


class Offers:
    """Keys in memory, named files, the agent, files of ~/.ssh; then what of them needs a passphrase, which a person is asked for.

    With `only_held` those in memory alone: no server learns from us what other keys there are.

    What stood in the way of a key is a sentence in `obstacles`. `is_wanted` tells of a file and its public key whether the
    server would take it.
    """

    def __init__(
        self,
        target: Target,
        keys: Sequence[Path],
        passphrase: str | None,
        person: Person,
        *,
        allow_agent: bool,
        look_for_keys: bool,
        is_wanted: Callable[[Path, bytes], bool],
        held: Sequence[HeldKey] = (),
        only_held: bool = False,
    ) -> None:
        self.obstacles: list[str] = []
        self._target, self._person = target, person
        self._named = list(dict.fromkeys([*keys, *target.key_files]))
        self._held, self.only_held = held, only_held
        self._allow_agent = allow_agent
        self._look_for_keys = look_for_keys and not target.key_files
        self._files = KeyFiles(passphrase, target.certificate_files, self.obstacles)
        self._is_wanted = is_wanted
        self._of_agent: set[bytes] = set()

    @property
    def met_a_locked_one(self) -> bool:
        return bool(self._files.locked)

    def __iter__(self) -> Generator[Offer]:
        """Each key and certificate once."""
        offered: set[bytes] = set()
        for offer in self._all():
            if offer.blob not in offered:
                offered.add(offer.blob)
                yield offer

    def _all(self) -> Iterator[Offer]:
        for held in self._held:
            if offer := held_offer(held):
                yield offer
            else:
                self.obstacles.append(f"{held.label} cannot be read as a key of type ed25519.")
        if not self.only_held:
            yield from self._others()

    def _others(self) -> Iterator[Offer]:
        yield from self._files.open_ones(self._named, must_exist=True)
        if self._allow_agent:
            yield from self._from_agent()
        if self._look_for_keys:
            folder = Path.home() / ".ssh"
            yield from self._files.open_ones([folder / name for name in FOUND_KEYS], must_exist=False)
        yield from self._locked_ones()

    def _locked_ones(self) -> Iterator[Offer]:
        for path in list(self._files.locked):
            public = public_blob(path)
            if public in self._of_agent:
                continue
            if not self._person.is_there:
                self.obstacles.append(f"{path} needs its passphrase: unlock it once with `ssh-add {path}`.")
                continue
            if not (path in self._named if public is None else self._is_wanted(path, public)):
                continue
            with self._person.time():
                passphrase = self._person.ask_secret("passphrase", f"Passphrase of {path}")
                key = self._files.unlocked(path, passphrase)
            if key is None:
                raise KeyLocked(
                    f"{path} cannot be unlocked with that passphrase; no server has seen it. Try again."
                )
            yield from self._files.with_certificates(str(path), key, path)

    def _from_agent(self) -> Iterator[Offer]:
        import paramiko

        mine = {public_blob(path) for path in self._named} if self._target.only_these_keys else None
        try:
            with agent_keys() as keys:
                for number, key in enumerate(keys, 1):
                    if mine is None or key.asbytes() in mine:
                        self._of_agent.add(key.asbytes())
                        yield from self._files.with_certificates(f"key {number} of the agent", key)
        except (paramiko.SSHException, OSError, ValueError):
            self.obstacles.append("The agent at SSH_AUTH_SOCK does not answer.")

"""What can go wrong, each as a sentence for a person: what happened, and what to do."""


class RemoteJobsError(Exception):
    """The parent of every error that this library raises on purpose; `str(error)` can be shown as it is."""

    exit_code = 1


class BadInput(RemoteJobsError, ValueError):
    """Something given to us cannot be used."""

    exit_code = 2


class BadAppName(BadInput):
    def __init__(self, name: object) -> None:
        super().__init__(
            f"{name!r} cannot be the name of an app: use 1 to 64 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or a digit."
        )


class BadKey(BadInput):
    def __init__(self, text: object) -> None:
        super().__init__(
            f"{text!r} is not a job key: a key is 32 hexadecimal digits, an underscore and a number."
        )


class BadDestination(BadInput):
    def __init__(self, text: object, why: str = "") -> None:
        super().__init__(
            f"{text!r} is not a server{': ' + why if why else ''}. "
            "Write it as [user@]server[:port], for instance alps, me@alps.example.org:2222 or [::1]:22."
        )


class LoginError(RemoteJobsError):
    """The server was reached, and did not let us in, or we did not trust it: a person has to act."""

    exit_code = 3


class LoginRefused(LoginError):
    """No key, password or code was accepted. Trying again by itself would only count towards a ban."""


class LoginUnanswered(LoginRefused):
    """The server asked for what only a person can give, and nobody was there, gave up, or took too long."""


class KeyLocked(LoginRefused):
    """The key has a passphrase, which was not given, or was another one: no server was shown anything yet."""


class HostKeyProblem(LoginError):
    """No key of this server that a person has accepted: nothing about the user was sent.

    `server` is the hop as a person knows it ("gate:2222"), `name` that under which its key is kept ("[gate]:2222").
    `key_type` and `fingerprint` ("SHA256:...") of the key that it showed are what a person compares; `line` is the
    known_hosts line that accepts it.
    """

    def __init__(
        self, sentence: str, *, server: str, name: str, key_type: str, fingerprint: str, line: str
    ) -> None:
        self.server, self.name = server, name
        self.key_type, self.fingerprint, self.line = key_type, fingerprint, line
        super().__init__(sentence)


class HostKeyUnknown(HostKeyProblem):
    """Nobody has accepted a key of this server yet."""


class HostKeyChanged(HostKeyProblem):
    """The server shows another key than the accepted ones: refused, loudly; they are kept.

    `accepted` holds their types and fingerprints. `is_revoked`: a line says that the key shown must not be accepted.
    """

    def __init__(
        self,
        sentence: str,
        *,
        accepted: tuple[tuple[str, str], ...] = (),
        is_revoked: bool = False,
        server: str,
        name: str,
        key_type: str,
        fingerprint: str,
        line: str,
    ) -> None:
        self.accepted, self.is_revoked = accepted, is_revoked
        super().__init__(
            sentence, server=server, name=name, key_type=key_type, fingerprint=fingerprint, line=line
        )


class Unreachable(RemoteJobsError):
    """No connection came about, or it broke."""

    exit_code = 4


class TimedOut(Unreachable):
    """The server did not answer in time. What it was doing may go on; its outcome is not known."""


class ServerProblem(RemoteJobsError):
    """The server answered that it cannot do this: no home, a full disk, a foreign folder, no scheduler."""


class AnswerBroken(RemoteJobsError):
    """The answer was cut, or is not one of ours: nothing in it was used."""

    exit_code = 4


class NoSuchJob(BadInput):
    def __init__(self, key: object) -> None:
        super().__init__(f"There is no job {key} on this server. The list shows the ones that there are.")


class ActionRefused(RemoteJobsError):
    """The server looked, and would not do it, with the reason in the sentence."""


class ActionUnknown(RemoteJobsError):
    """It is not known yet whether the action was carried out. Asking again with the same uuid (`action`) settles it."""

    def __init__(self, sentence: str, action: str) -> None:
        self.action = action
        super().__init__(sentence)

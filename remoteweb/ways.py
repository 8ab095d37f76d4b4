"""The tables of the way out: logins that a person began, what a server asks meanwhile, and the keys that were made here.

Times are seconds since 1970, UTC (REAL), by our clock.
"""

from sqlalchemy import Float, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from remoteweb.accounts import Account
from remoteweb.database import Model

# Of a login. The first four are under way, the next two wait for a person, the rest have ended.
WAITING, CONNECTING, ASKING, SYNCING = "waiting", "connecting", "asking", "syncing"
HOST_KEY, OWN_KEY = "host_key", "own_key"
DONE, FAILED, ENDED = "done", "failed", "ended"
WITH_A_WORKER = (CONNECTING, ASKING, SYNCING)
OPEN = (WAITING, *WITH_A_WORKER, HOST_KEY, OWN_KEY)

# Of a key that is made here: asked for, made (no server has taken it yet), in use (one has); then its private half is gone.
WANTED, MADE, IN_USE = "wanted", "made", "in_use"
REPLACED, REVOKED, UNMADE = "replaced", "revoked", "unmade"


def _one_for_a_login(name: str, condition: str) -> Index:
    """One row while that holds."""
    columns = ("owner_id", "user", "host", "port")
    return Index(name, *columns, unique=True, sqlite_where=text(condition), postgresql_where=text(condition))


class Login(Model):
    """A login that a person began, to add a server or at one that needs it. The sync worker carries it out."""

    __tablename__ = "login"
    __table_args__ = (
        # One at a time for each login name: a server that sees several at once takes them for an attack.
        _one_for_a_login("login_one_open", "ended_at IS NULL"),
        # The thread of a login that was given up may still run: no later login may be taken for it.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey(Account.id, ondelete="CASCADE"))
    user: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)
    port: Mapped[int]
    way: Mapped[str] = mapped_column(Text, default="")  # as Server.way
    app: Mapped[str] = mapped_column(Text, default="")  # that is to be added; "": what is known already
    keep_seconds: Mapped[float] = mapped_column(
        Float, default=0.0
    )  # the open connection, if something was typed
    asked_by: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[float] = mapped_column(Float)
    state: Mapped[str] = mapped_column(Text, default=WAITING)
    changed_at: Mapped[float] = mapped_column(Float)
    holder: Mapped[str] = mapped_column(Text, default="")  # host:pid:random of the worker that has it
    seen_at: Mapped[float] = mapped_column(Float, default=0.0)  # when that worker last said so
    sentence: Mapped[str] = mapped_column(Text, default="")  # why it waits, or how it ended
    ended_at: Mapped[float | None] = mapped_column(Float)
    # The host key that the server showed, as a line of known_hosts, and under which name a person knows that server.
    # In `host_key` it waits to be compared; after `failed` it is another one than the accepted.
    key_line: Mapped[str] = mapped_column(Text, default="")
    key_server: Mapped[str] = mapped_column(Text, default="")


class Question(Model):
    """What a server asks of a person while a login waits for the answer, in words that it chose itself.

    The answer never comes here: it goes to the worker's memory, through the socket that is named `socket`.
    """

    __tablename__ = "question"

    login_id: Mapped[int] = mapped_column(ForeignKey("login.id", ondelete="CASCADE"), primary_key=True)
    token: Mapped[str] = mapped_column(Text)  # random: an answer counts for this question alone
    socket: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)  # code, password, passphrase
    server: Mapped[str] = mapped_column(Text)  # the hop that asks, as a person knows it
    user: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    instructions: Mapped[str] = mapped_column(Text)
    questions: Mapped[str] = mapped_column(Text)  # JSON: [{text, echo}]; none: something is only to be read
    asked_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float] = mapped_column(Float)


class MadeKey(Model):
    """A key pair (ed25519) that was made here for one login of one account. A guest has none.

    The private half is sealed (sealing.py) for the owner, the login and the public half; once the key is replaced or revoked it
    is gone, and the row tells which line is to be removed at the server.
    """

    __tablename__ = "made_key"
    __table_args__ = (
        # While a key is replaced there are two: the one in use, and the one that the server has not taken yet.
        _one_for_a_login("made_key_new", "state IN ('wanted', 'made')"),
        _one_for_a_login("made_key_in_use", "state = 'in_use'"),
        # A page that was left open names no later key.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey(Account.id, ondelete="CASCADE"))
    user: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)
    port: Mapped[int]
    state: Mapped[str] = mapped_column(Text, default=WANTED)
    public: Mapped[str] = mapped_column(Text, default="")  # as in a .pub file
    sealed: Mapped[str] = mapped_column(Text, default="")  # "": there is no private half
    sealed_by: Mapped[str] = mapped_column(Text, default="")  # the name of the key that sealed it
    asked_by: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[float] = mapped_column(Float)
    made_at: Mapped[float | None] = mapped_column(Float)
    accepted_at: Mapped[float | None] = mapped_column(Float)  # when the server first let us in by it
    ended_at: Mapped[float | None] = mapped_column(Float)
    sentence: Mapped[str] = mapped_column(Text, default="")  # why it could not be made

"""The tables of the way out: logins that a person began, and what a server asks meanwhile.

Times are seconds since 1970, UTC (REAL), by our clock.
"""

from sqlalchemy import Float, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from remoteweb.accounts import Account
from remoteweb.database import Model

# Of a login. The first four are under way, the next one waits for a person, the rest have ended.
WAITING, CONNECTING, ASKING, SYNCING = "waiting", "connecting", "asking", "syncing"
HOST_KEY = "host_key"
DONE, FAILED, ENDED = "done", "failed", "ended"
WITH_A_WORKER = (CONNECTING, ASKING, SYNCING)
OPEN = (WAITING, *WITH_A_WORKER, HOST_KEY)


class Login(Model):
    """A login that a person began, to add a server or at one that needs it. The sync worker carries it out."""

    __tablename__ = "login"
    __table_args__ = (
        # One at a time for each login name: a server that sees several at once takes them for an attack.
        Index(
            "login_one_open",
            "owner_id",
            "user",
            "host",
            "port",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
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

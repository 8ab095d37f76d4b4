"""A login that a person began on a page, carried out by the sync worker: it ends with a first sync, or says why not."""

import time
from collections.abc import Callable
from typing import Any

from flask import Flask

from remotejobs.errors import HostKeyChanged, HostKeyUnknown, RemoteJobsError
from remotejobs.output import Output
from remotejobs.shell import Shell, SSHShell
from remoteweb import audit, collector, connect, logins, made_keys, sources, viewer
from remoteweb.database import begin_writing, db
from remoteweb.handover import Listener
from remoteweb.kept import KeptConnections, Lent
from remoteweb.leases import Busy
from remoteweb.made_keys import At
from remoteweb.models import Server
from remoteweb.prompting import Asker
from remoteweb.runs import Unwanted
from remoteweb.untrusted import line
from remoteweb.ways import DONE, FAILED, HOST_KEY, SYNCING, Login

# Another sync of that server may be on: it ends, or is over after so long.
BUSY_SECONDS = 100.0
BUSY_AGAIN_SECONDS = 1.0
TOO_LATE = "It ended too late to stop anything: all had been read already. {}"
NOT_FORESEEN = "An error that is not foreseen ended it ({}); the log says where."


class GivenUp(Unwanted):
    """The person wants it no more, or its row says that it has ended for another reason."""

    def __init__(self) -> None:
        super().__init__("The login was given up.")


class WhileWanted(Lent):
    """Its connection, as long as somebody wants it: how it breaks after that is no trouble of the server."""

    def __init__(self, shell: SSHShell, label: str, of: "SigningIn") -> None:
        super().__init__(shell, label, may_connect=True)
        self._of = of

    def run(self, *arguments: Any, **options: Any) -> Output:
        try:
            return super().run(*arguments, **options)
        except RemoteJobsError:
            if self._of.is_over:
                raise GivenUp from None
            raise


class SigningIn:
    """One login, in a thread and an app context of its own."""

    def __init__(self, app: Flask, login_id: int, listener: Listener, kept: KeptConnections) -> None:
        self.login_id, self.holder = login_id, kept.holder
        self._app, self._kept = app, kept
        self._asker = Asker(app, login_id, self.holder, listener)
        self._shell: SSHShell | None = None
        self._keys: list[int] = []  # that were made here, and may have opened it
        self._stage = ""
        self.is_taken = self.is_over = False

    def run(self) -> None:
        if self.is_over or not logins.take(self.login_id, self.holder):
            return
        self.is_taken = True
        login = db.session.get_one(Login, self.login_id)
        db.session.expunge(login)
        db.session.rollback()
        try:
            state, told = self._carry_out(login)
        except Exception as error:
            self._app.logger.exception("Login %s ended in an error that is not foreseen.", self.login_id)
            state, told = FAILED, {"sentence": NOT_FORESEEN.format(type(error).__name__)}
        finally:
            if self._shell is not None:
                self._shell.close()
        logins.move(self.login_id, self.holder, state, **told)

    def _carry_out(self, login: Login) -> tuple[str, dict[str, str]]:
        """The state that it comes to, with what else goes into its row."""
        viewer.become(viewer.of_account(login.owner_id))
        try:
            server_id = sources.server(login.user, login.host, login.port).id
            try:
                result = self._sync(login, server_id)
                self._signed_in(login, server_id, result)
                return DONE, {"sentence": line(result, 600)}
            finally:
                db.session.rollback()
                sources.drop_if_unknown(server_id)
        except HostKeyUnknown as unknown:
            return HOST_KEY, {"key_line": unknown.line, "key_server": line(unknown.server)}
        except HostKeyChanged as changed:
            # Only to be looked at: to accept it besides the others is a step of its own.
            offered = "" if changed.is_revoked else changed.line
            return FAILED, {"sentence": str(changed), "key_line": offered, "key_server": line(changed.server)}
        except RemoteJobsError as error:
            return FAILED, {"sentence": line(error, 1000)}

    def _sync(self, login: Login, server_id: int) -> str:
        apps = [login.app] if login.app else None
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return collector.collect(
                    db.session.get_one(Server, server_id),
                    self._factory(login),
                    apps=apps,
                    asked_by="person",
                    listener=self._hear,
                    ignore_interval=True,  # to compare and to type took longer than that
                ).sentence
            except Busy:
                if time.monotonic() > until or not logins.is_still(self.login_id, self.holder):
                    raise
                time.sleep(BUSY_AGAIN_SECONDS)

    def end(self) -> None:
        """By another thread, once nobody wants it any more: it hangs up, whatever the server or a person is waited for."""
        self.is_over = True
        shell = self._shell
        if shell is not None and self._stage in ("", "connecting"):  # what has been sent is read to its end
            shell.end()

    def _factory(self, login: Login) -> Callable[[Server], Shell]:
        def shell(server: Server) -> Shell:
            self._keys = [row.id for row in made_keys.live(At.of(server))]
            self._shell = connect.asking(server, login.way, self._asker, self._still_wanted)
            if self.is_over:
                self._shell.end()
            return WhileWanted(self._shell, server.alias or server.host, self)

        return shell

    def _still_wanted(self) -> None:
        """Between the login and its one command: an approval may have come after all."""
        with self._app.app_context():
            if not logins.is_still(self.login_id, self.holder):
                raise GivenUp

    def _hear(self, stage: str, _done: int, _total: int | None) -> None:
        """Each stage once: it comes here with each piece of the answer. Raises GivenUp, while nothing is stored yet."""
        if stage == self._stage:
            return
        self._stage = stage
        with self._app.app_context():
            if stage == "reading":
                is_wanted = logins.move(self.login_id, self.holder, SYNCING)
            else:
                is_wanted = logins.is_still(self.login_id, self.holder)
        if not is_wanted:
            raise GivenUp

    def _signed_in(self, login: Login, server_id: int, result: str) -> None:
        """What was learned on the way, and the open connection, if it is to be kept."""
        is_wanted = logins.is_still(self.login_id, self.holder)
        begin_writing()
        values = {"way": login.way, "asks": self._asker.was_needed}
        if self._asker.was_needed:
            values["keep_seconds"] = login.keep_seconds
        db.session.execute(db.update(Server).where(Server.id == server_id).values(**values))
        if login.app:
            where = f"{login.user}@{login.host}:{login.port}"
            audit.note("added a server", where, login.app)
        if not is_wanted:
            logins.note_too_late(self.login_id, self.holder, line(TOO_LATE.format(result), 600))
        db.session.commit()
        if is_wanted and self._asker.was_needed and login.keep_seconds and self._shell is not None:
            until = time.time() + login.keep_seconds
            if self._kept.keep(server_id, self._shell, until, self._is_by_no_revoked_key):
                self._shell = None

    def _is_by_no_revoked_key(self) -> bool:
        """A person takes a while to answer, and may have revoked a key meanwhile."""
        return not made_keys.was_one_revoked(self._keys)

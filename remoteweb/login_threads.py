"""The logins that a sync worker carries out: it takes them, listens for what is typed, and says that it is there."""

import contextlib
import threading
import time
from collections.abc import Iterator

from flask import Flask
from sqlalchemy.exc import DBAPIError

from remoteweb import kept, logins
from remoteweb.database import db
from remoteweb.handover import Listener, folder_of
from remoteweb.kept import KeptConnections
from remoteweb.signing_in import SigningIn

AT_ONCE, OF_ONE_OWNER = 8, 4  # more wait for their turn; what was given up may take a while to end
STALE_EVERY = 5.0


class Logins:
    """Of one worker; `start` and `look_around` are called by its thread."""

    def __init__(self, app: Flask, kept: KeptConnections) -> None:
        self._app, self._kept = app, kept
        self._listener = Listener(folder_of(app))
        self._threads: list[tuple[threading.Thread, int]] = []  # each with the owner of its login
        self._under_way: dict[int, SigningIn] = {}
        self._looked_at = 0.0
        self._can_listen = False

    def start(self) -> None:
        try:
            self._listener.start()
            self._can_listen = True
        except OSError as error:
            self._app.logger.error(
                "What is typed on a page cannot get here: %s: %s. The pages cannot sign in to a server.",
                error.filename or self._listener.folder,
                error.strerror,
            )

    def look_around(self) -> None:
        """Once a tick, inside an app context."""
        self._threads = [running for running in self._threads if running[0].is_alive()]
        if time.monotonic() > self._looked_at + STALE_EVERY:
            self._looked_at = time.monotonic()
            if self._threads:
                logins.beat(self._kept.holder)
            logins.close_stale()
            db.session.commit()
            kept.release_the_dead()
        self._kept.look_after()
        self._end_the_unwanted()
        for login_id, owner_id in logins.waiting() if self._can_listen else ():
            if self._has_room_for(owner_id):
                self._begin(login_id, owner_id)

    def _end_the_unwanted(self) -> None:
        """What was given up hangs up now, and not when the server or its time is through."""
        taken = [one for one in list(self._under_way.values()) if one.is_taken and not one.is_over]
        if taken:
            wanted = logins.held_by(self._kept.holder)
            for one in taken:
                if one.login_id not in wanted:
                    one.end()

    def _has_room_for(self, owner_id: int) -> bool:
        owners = [owner for _, owner in self._threads]
        return len(owners) < AT_ONCE and owners.count(owner_id) < OF_ONE_OWNER

    def _begin(self, login_id: int, owner_id: int) -> None:
        thread = threading.Thread(
            target=self._carry_out, args=(login_id,), name=f"login-{login_id}", daemon=True
        )
        self._threads.append((thread, owner_id))
        thread.start()

    def _carry_out(self, login_id: int) -> None:
        with self._app.app_context():
            login = self._under_way[login_id] = SigningIn(self._app, login_id, self._listener, self._kept)
            try:
                login.run()
            except Exception:
                self._app.logger.exception("Login %s could not be carried out; the worker goes on.", login_id)
            finally:
                self._under_way.pop(login_id, None)

    def stop(self, seconds: float) -> None:
        """What waits for a server or a person ends with this worker, and its page says so; what has been sent is read to its
        end, if that takes no longer than `seconds`.
        """
        until = time.monotonic() + seconds
        self._listener.stop()
        with self._noting_the_end():
            left = logins.leave(self._kept.holder)
            for one in list(self._under_way.values()):
                if one.login_id in left or not one.is_taken:
                    one.end()
        for thread, _ in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._noting_the_end():
            self._kept.close()

    @contextlib.contextmanager
    def _noting_the_end(self) -> Iterator[None]:
        with self._app.app_context():
            try:
                yield
            except DBAPIError as error:  # its rows name this worker, so whoever looks sees that it is gone
                self._app.logger.warning("The end of a sync worker was not noted: %s", error.orig)

"""The process that answers browsers: gunicorn, with what holds wherever the pages are served."""

import socket
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from remoteweb.gathering import Worker

BACKLOG = 128


class PageServer(BaseApplication):  # type: ignore[misc]
    """One process that answers, with eight threads, on `sockets`: without any, on those that systemd hands over.

    `begin` runs in that process when it is ready; its argument says whether it is the first one, and none in the place of
    one that was killed.
    """

    def __init__(self, app: Flask, sockets: list[socket.socket], begin: Callable[[bool], None]) -> None:
        self.app, self.sockets, self.begin = app, sockets, begin
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": [f"fd://{one.detach()}" for one in self.sockets],
            "worker_class": Worker,
            "workers": 1,
            "threads": 8,
            "graceful_timeout": 5,
            "loglevel": "warning",  # and no access log, which is off unless it is asked for
            "control_socket_disable": True,  # it would be written into ~/.gunicorn
            # What a proxy says is believed in one place, which knows how many there are: not here, where on a unix socket
            # every peer is, and could name the path as well.
            "secure_scheme_headers": {},
            "forwarder_headers": "",
            "forwarded_allow_ips": "",
            "post_worker_init": lambda worker: self.begin(worker.age == 1),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self.app

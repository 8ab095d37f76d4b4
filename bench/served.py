"""The pages as they are served, by the program that `make run` starts: web and sync worker in one process."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from cluster.parts import free_port, wait_until
from ground import ROOT, Ground

START = "from remoteweb.cli import main; main()"


@dataclass
class Served:
    port: int
    pid: int  # of the process that answers and syncs
    cookie: str = ""

    @property
    def peak(self) -> int:
        """The most memory that it ever had, bytes."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def get(self, path: str, headers: str = "") -> bytes:
        """The answer as it went over the wire."""
        with socket.create_connection(("127.0.0.1", self.port), 30) as wire:
            head = f"GET {path} HTTP/1.1\r\nHost: localhost:{self.port}\r\nConnection: close\r\n"
            wire.sendall(f"{head}Cookie: {self.cookie}\r\n{headers}\r\n".encode())
            return b"".join(iter(lambda: wire.recv(1 << 16), b""))


@contextmanager
def served(ground: Ground, database: str) -> Iterator[Served]:
    port = free_port()
    settings = {"REMOTEWEB_SQLALCHEMY_DATABASE_URI": ground.database(database), "REMOTEWEB_MIN_INTERVAL": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", START, "serve", "--port", str(port)],
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    try:
        assert process.stdout
        link = next(word for line in process.stdout for word in line.split() if "/enter/" in word)
        wait_until(lambda: psutil.Process(process.pid).children(), "the process that answers")
        one = Served(port, psutil.Process(process.pid).children()[0].pid)
        one.cookie = _cookie(link)
        yield one
    finally:
        process.terminate()
        process.wait(20)


def _cookie(link: str) -> str:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    try:
        urllib.request.build_opener(Stay).open(link, timeout=20)
    except urllib.error.HTTPError as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]
    raise AssertionError("the link did not let us in")

"""`remoteweb serve` as a process of its own, over real sockets; and the pages alone, on a unix socket."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from contextlib import closing
from pathlib import Path

import psutil
from cluster.parts import wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = ("-m", "remoteweb")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the unix socket at `path`."""

    def __init__(self, path: Path, host: str, timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Served:
    """`remoteweb serve`, with what it printed so far in files. `program`: what Python is told to run as `remoteweb`."""

    def __init__(self, folder: Path, port: int, program: tuple[str, ...] = PROGRAM) -> None:
        self.program = program
        self.port, self.out, self.err = port, folder / "out", folder / "err"
        self.process = self._start(["serve", "--port", str(port)], folder, {})

    def _start(
        self, command: list[str], folder: Path, more: dict[str, str], of: str = ""
    ) -> "subprocess.Popen[bytes]":
        out_path, err_path = (path.with_name(path.name + of) for path in (self.out, self.err))
        with out_path.open("ab") as out, err_path.open("ab") as err:
            return subprocess.Popen(
                [sys.executable, *self.program, *command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **more},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # so that a test can send what a terminal sends: a signal to the group
            )

    def until_ready(self) -> str:
        """The printed link."""
        wait_until(lambda: "/enter/" in self.out.read_text() or self.process.poll() is not None, "serving")
        link = re.search(r"http://\S+/enter/\S+", self.out.read_text())
        assert link, self.err.read_text()
        return link[0]

    def get(self, path: str, cookie: str = "", address: str = "127.0.0.1") -> http.client.HTTPResponse:
        connection = self._connection(address, 10)
        with closing(connection):
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
            answer = connection.getresponse()
            answer.body = answer.read()  # type: ignore[attr-defined]
            return answer

    def post(self, path: str, form: dict[str, str], cookie: str) -> http.client.HTTPResponse:
        """As a form of our own page is sent."""
        headers = {
            "Cookie": cookie,
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        connection = self._connection("127.0.0.1", 30)
        with closing(connection):
            connection.request("POST", path, urllib.parse.urlencode(form), headers)
            answer = connection.getresponse()
            answer.body = answer.read()  # type: ignore[attr-defined]
            return answer

    def _connection(self, address: str, timeout: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(address, self.port, timeout=timeout)

    def enter(self, link: str) -> str:
        """The cookie that the link gives."""
        answer = self.get("/" + link.partition(f":{self.port}/")[2])
        assert answer.status == 303
        return str(answer.headers["Set-Cookie"]).partition(";")[0]

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class ServedApart(Served):
    """The same on a VPS: `remoteweb web` on a unix socket, and the sync worker as a process of its own.

    Whoever asks stands for the reverse proxy. `port` is that of the address alone: nobody listens there.
    """

    def __init__(self, folder: Path, port: int, program: tuple[str, ...] = PROGRAM) -> None:
        self.program = program
        self.port, self.out, self.err = port, folder / "out", folder / "err"
        self.folder = Path(
            tempfile.mkdtemp(prefix="remoteweb-", dir="/tmp")
        )  # a socket's path may not be long
        self.path = self.folder / "web"
        self.settings = {
            "REMOTEWEB_PUBLIC_URL": f"http://localhost:{port}",
            "REMOTEWEB_TRUSTED_PROXIES": "1",
        }
        self.process = self._start(["web", "--socket", str(self.path)], folder, self.settings)
        self.worker = self._start(["sync-worker"], folder, self.settings, ".worker")

    def until_ready(self) -> str:
        wait_until(
            lambda: (
                ("Serves" in self.out.read_text() and self.path.exists()) or self.process.poll() is not None
            ),
            "serving",
        )
        assert self.process.poll() is None, self.err.read_text()
        command = [sys.executable, *PROGRAM, "link"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.settings}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    def _connection(self, address: str, timeout: float) -> http.client.HTTPConnection:
        return UnixConnection(self.path, f"localhost:{self.port}", timeout)

    def end(self) -> None:
        super().end()
        if self.worker.poll() is None:
            self.worker.terminate()
            self.worker.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def serve_somehow(folder: Path, port: int, program: tuple[str, ...] = PROGRAM) -> Served:
    """As on a laptop; as on a VPS when the tests themselves run without a network."""
    return (ServedApart if os.environ.get("ISOLATED") == "1" else Served)(folder, port, program)

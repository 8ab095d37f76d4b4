"""`remoteweb serve` as a process of its own, over real sockets."""

import http.client
import os
import re
import signal
import subprocess
import sys
import urllib.parse
from contextlib import closing
from pathlib import Path

import psutil
from cluster.parts import wait_until

ROOT = Path(__file__).parents[2]


class Served:
    """`remoteweb serve`, with what it printed so far in files."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port, self.out, self.err = port, folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "remoteweb", "serve", "--port", str(port)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
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
        connection = http.client.HTTPConnection(address, self.port, timeout=10)
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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request("POST", path, urllib.parse.urlencode(form), headers)
            answer = connection.getresponse()
            answer.body = answer.read()  # type: ignore[attr-defined]
            return answer

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

"""Who sends slowly, too much, or nonsense to the real server: it stops nobody else, and is ended."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest
from cluster.parts import free_port, wait_until
from flask.testing import FlaskClient
from web.served import Served, ServedApart, serve_somehow

from remoteweb.gathering import LARGEST

pytestmark = pytest.mark.sqlite

FORM = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none\r\nContent-Type: application/x-www-form-urlencoded\r\n"
PARTS_OF = FORM.replace(b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=b")
PARTS = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 1000 + b"--b--"
SLOW = {
    "nothing at all": b"",
    "half a line": b"GET / HT",
    "headers without an end": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n",
    "no body after its length": FORM + b"Content-Length: 100\r\n\r\n",
    "half a body": FORM + b"Content-Length: 100\r\n\r\nname=ada&pass",
    "an answer that nobody takes": b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n",
}
AT_ONCE = 20  # of each


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("served")
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_STATE_HOME", str(folder))
        one = serve_somehow(folder, free_port())
        one.until_ready()
        yield one
        one.end()


def connection(to: Served) -> socket.socket:
    family, address = socket.AF_INET, ("127.0.0.1", to.port)
    if isinstance(to, ServedApart):
        family, address = socket.AF_UNIX, str(to.path)  # type: ignore[assignment]
    one = socket.socket(family, socket.SOCK_STREAM)
    one.settimeout(20)
    one.connect(address)
    return one


def told(to: Served, sent: bytes) -> bytes:
    """What comes back until the other side ends it."""
    with connection(to) as one:
        answer = b""
        try:
            one.sendall(sent)
            one.shutdown(socket.SHUT_WR)
            while piece := one.recv(65536):
                answer += piece
        except TimeoutError:
            raise
        except OSError:
            pass  # ended while we were still sending
        return answer


def test_twenty_of_each_kind_that_dawdle_stop_the_page_for_nobody(serving: Served) -> None:
    with ExitStack() as held:
        for sent in SLOW.values():
            for _ in range(AT_ONCE):
                one = held.enter_context(connection(serving))
                one.sendall(sent)
            began = time.monotonic()
            assert serving.get("/healthz").status == 200
            assert (
                serving.get("/sign-in").status == 401
            )  # a page of ours: here, links let in and nothing else
            assert time.monotonic() - began < 4


# It waits a second for a request to come whole, and not ten.
HASTY = "from remoteweb import cli, gathering; gathering.SECONDS = 1.0; cli.main()"


def test_what_does_not_come_whole_in_time_is_ended_also_when_it_drips(tmp_path: Path) -> None:
    hasty = serve_somehow(tmp_path, free_port(), ("-c", HASTY))
    try:
        hasty.until_ready()
        with connection(hasty) as one, connection(hasty) as empty:
            for _ in range(40):  # one byte at a time, each in time
                try:
                    one.sendall(b"X")
                except ConnectionError:
                    break
                time.sleep(0.1)
            else:
                pytest.fail("it was listened to for 4 seconds")
            assert empty.recv(10) == b""
    finally:
        hasty.end()


TOO_MUCH = {
    "a long address": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 414}),
    "many headers": (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", {400, 431}),
    "a long header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20000 + b"\r\n\r\n", {400, 431}),
    # Who still sends when the answer comes may be cut off before it is read.
    "headers without an end": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000, {431, None}),
    "a large body": (FORM + b"Content-Length: %d\r\n\r\n" % (LARGEST + 1), {413}),
    "a huge length": (FORM + b"Content-Length: 99999999999999999\r\n\r\n", {413}),
    "a body in chunks": (FORM + b"Transfer-Encoding: chunked\r\n\r\n5\r\nname=\r\n0\r\n\r\n", {411}),
    "chunks without an end": (FORM + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", {411}),
    "chunks and a length": (
        FORM + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        {411},
    ),
    "chunks by another name": (FORM + b"Transfer-Encoding : xchunked\r\n\r\n0\r\n\r\n", {400, 411, 501}),
    "two lengths": (FORM + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", {400}),
    "a length that is none": (FORM + b"Content-Length: +3\r\n\r\nabc", {400}),
    "a negative length": (FORM + b"Content-Length: -3\r\n\r\nabc", {400}),
    "a folded header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n Content-Length: 9\r\n\r\n", {400}),
    "NUL in a header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", {400}),
    "NUL in the address": (b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 401}),
    "bytes in the address": (
        b"GET /\xff\xfe?\xed\xa0\x80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        {303, 400, 401},
    ),
    "another version": (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", {400, 505}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", {400}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "another program's line": (b"HELO example.org\r\n\r\n", {400}),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", {400, 401}),
    "a thousand parts": (PARTS_OF + b"Content-Length: %d\r\n\r\n" % len(PARTS) + PARTS, {413}),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_much_and_nonsense_are_refused_and_harm_nothing(serving: Served, what: str) -> None:
    sent, statuses = TOO_MUCH[what]
    began = time.monotonic()
    answer = told(serving, sent)
    status = re.match(rb"HTTP/1\.[01] ([0-9]{3})", answer)
    assert (int(status[1]) if status else None) in statuses, answer[:300]
    assert time.monotonic() - began < 8
    assert serving.get("/healthz").status == 200


FORMS = {
    "a large field": {"data": {"name": "a" * 70_000}, "content_type": "multipart/form-data"},
    "a large form": {"data": "a=b&" * 70_000, "content_type": "application/x-www-form-urlencoded"},
    "a large file": {"data": {"x": (BytesIO(b"y" * 300_000), "z")}},
    "many parts": {
        "data": {f"n{number}": "" for number in range(200)},
        "content_type": "multipart/form-data",
    },
}


@pytest.mark.parametrize("what", FORMS)
def test_a_form_is_bounded_whatever_serves_the_pages(anonymous: FlaskClient, what: str) -> None:
    answer = anonymous.post("/sign-in", **FORMS[what])
    assert answer.status_code == 413 and "That is too much at once" in answer.text


def test_a_form_that_is_cut_on_its_way_is_no_form(serving: Served) -> None:
    assert told(serving, FORM + b"Content-Length: 100\r\n\r\nname=ada&password=some") == b""


def test_two_requests_in_one_piece_are_two_answers(serving: Served) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    answer = told(serving, one + b"\r\n" + one + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_nothing_of_it_is_a_traceback_in_the_log(serving: Served) -> None:
    wait_until(lambda: serving.get("/healthz").status == 200, "it serves")
    assert "Traceback" not in serving.err.read_text(), serving.err.read_text()[-3000:]

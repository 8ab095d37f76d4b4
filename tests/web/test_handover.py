"""What is typed on a page reaches the worker over a unix socket: whole, once, from its own group, and nothing else does."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.parts import base_folder

from remoteweb import handover
from remoteweb.handover import Listener, WorkerGone, hand_over

pytestmark = pytest.mark.sqlite  # no database in it

SECRET = "canary-4711"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with base_folder("handover") as folder:  # where another user could get to
        one = Listener(folder / "run")
        one.start()
        yield one
        one.stop()


def test_what_is_typed_arrives_once_and_only_while_it_is_waited_for(listener: Listener) -> None:
    with listener.waiting("token") as answers:
        assert not hand_over(listener.folder, listener.name, "another", [SECRET])
        assert hand_over(listener.folder, listener.name, "token", [SECRET, "ü\n"])
        assert not hand_over(listener.folder, listener.name, "token", ["late"])
        assert answers.get(timeout=1) == [SECRET, "ü\n"] and answers.empty()
    assert not hand_over(listener.folder, listener.name, "token", ["late"])


def test_a_folder_with_a_long_path_will_do(tmp_path: Path) -> None:
    one = Listener(tmp_path / ("long" * 40))
    one.start()
    try:
        with one.waiting("token"):
            assert hand_over(one.folder, one.name, "token", ["x"])
    finally:
        one.stop()


def test_the_socket_is_of_owner_and_group_and_goes_with_the_worker(listener: Listener) -> None:
    path = listener.folder / listener.name
    assert path.stat().st_mode & 0o777 == 0o660
    listener.stop()
    assert not path.exists()
    with pytest.raises(WorkerGone, match="nobody got what you typed"):
        hand_over(listener.folder, listener.name, "token", [SECRET])


def test_a_socket_that_a_killed_worker_left_is_swept_away_and_a_living_one_is_not(listener: Listener) -> None:
    left = listener.folder / "worker-0123456789ab.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    second = Listener(listener.folder)
    second.start()
    second.stop()
    assert not left.exists() and (listener.folder / listener.name).exists()


FRAMES = {
    "nothing": b"",
    "half a length": b"\0\0",
    "a huge length": struct.pack(">I", 2**32 - 1) + b"x",
    "more than a frame may have": struct.pack(">I", handover.MAX_FRAME + 1) + b"x" * 64,
    "no JSON": struct.pack(">I", 3) + b"{{{",
    "other JSON": struct.pack(">I", 2) + b"[]",
    "bytes that are no text": struct.pack(">I", 24) + b'{"token":"\xff","answers":',
}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_that_is_none_gets_nothing_and_the_next_is_served(listener: Listener, frame: str) -> None:
    with listener.waiting("token") as answers:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(listener.folder / listener.name))
            wire.sendall(FRAMES[frame])
            wire.shutdown(socket.SHUT_WR)
            wire.settimeout(5)
            assert wire.recv(10) in (b"", handover.NOT_WAITED_FOR)
        assert answers.empty()
        assert hand_over(listener.folder, listener.name, "token", ["x"])


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be somebody else")
def test_another_user_is_not_believed_even_where_the_modes_let_them_in(listener: Listener) -> None:
    path = listener.folder / listener.name
    for place, mode in ((listener.folder, 0o755), (path, 0o666)):
        place.chmod(mode)
    code = """
import os, socket, struct, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
wire = socket.socket(socket.AF_UNIX)
wire.connect(sys.argv[1])
frame = b'{"token":"token","answers":["x"]}'
try:
    wire.sendall(struct.pack(">I", len(frame)) + frame)
    print(wire.recv(1).decode())
except ConnectionError:  # it hung up with the frame unread
    print("0")
"""
    with listener.waiting("token") as answers:
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
        assert done.stdout == b"0\n" and answers.empty()
        os.chown(path, 0, 65534)  # and in the group of the socket they are
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
        assert done.stdout == b"1\n" and answers.get(timeout=1) == ["x"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be somebody else")
def test_a_socket_of_another_user_gets_nothing_of_what_was_typed(listener: Listener) -> None:
    code = (
        "import socket,sys,os;os.setgid(65534);os.setuid(65534);w=socket.socket(socket.AF_UNIX);w.bind(sys.argv[1]);"
        "w.listen();print('on',flush=True);p,_=w.accept();p.settimeout(3);print(p.recv(1000))"
    )
    listener.folder.chmod(0o777)
    path = listener.folder / "worker-planted.sock"
    thief = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert thief.stdout and thief.stdout.readline() == "on\n"
    with pytest.raises(WorkerGone):
        hand_over(listener.folder, path.name, "token", [SECRET])
    assert thief.communicate(timeout=20)[0] == "b''\n"

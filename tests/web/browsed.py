"""An app over a real socket, for a browser."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from flask import Flask
from werkzeug.serving import make_server


@contextmanager
def browsed(app: Flask) -> Iterator[int]:
    """Serves it to this machine: the port."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return app.wsgi_app({**environ, "wsgi.file_wrapper": _read_whole}, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read_whole(file: IO[bytes], _size: int = 0) -> list[bytes]:
    """A browser that leaves a page drops what it was fetching, and then Werkzeug's small server closes no file."""
    with file:
        return [file.read()]

"""Sinks of every kind, what lies in them as others read it, and pulls into them that are killed at a given line.

What takes long to import is imported where it is needed: a process that is killed starts often.
"""

import csv
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from remotejobs import RemoteJobSubmitter, answer, sinks
from remotejobs.sinks import CSVSink, JSONLinesSink, PostgreSQLSink, Sink, SQLiteSink, TableSink, pull

MAPPING = {"jobid": "id", "name": "title", "status": "state", "exit_code": "exit_code", "cleaned": "cleaned"}
KINDS = ("sqlite", "postgresql", "table", "csv", "jsonl")
Rows = dict[str, tuple[Any, ...]]


def make(kind: str, where: str, name: str) -> Sink:
    """`where` is a folder, or the address of a PostgreSQL."""
    if kind == "sqlite":
        return SQLiteSink(f"{where}/jobs.sqlite3", name, MAPPING)
    if kind == "postgresql":
        return PostgreSQLSink(where, name, MAPPING)
    if kind == "table":
        return _table(where, name)
    return {"csv": CSVSink, "jsonl": JSONLinesSink}[kind](f"{where}/{name}", MAPPING)


def _table(where: str, name: str) -> TableSink:
    import sqlalchemy

    engine = sqlalchemy.create_engine(f"sqlite:///{where}/jobs.sqlite3", poolclass=sqlalchemy.NullPool)
    columns = [sqlalchemy.Column(column, sqlalchemy.Text) for column in MAPPING.values()]
    table = sqlalchemy.Table(name, sqlalchemy.MetaData(), *columns)
    table.create(engine, checkfirst=True)
    return TableSink(engine, table, MAPPING)


def close(sink: Sink) -> None:
    if isinstance(sink, SQLiteSink | PostgreSQLSink):
        sink.close()


def content(kind: str, where: str, name: str) -> Rows:
    """By jobid: title, state, exit code, cleaned, each as text. A job that stands there twice is an error."""
    rows = [tuple("" if value is None else str(value) for value in row) for row in _read(kind, where, name)]
    found = {str(row[0]): row[1:] for row in rows}
    assert len(found) == len(rows), "a job stands there twice"
    spelled = {"True": "1", "False": "0", "true": "1", "false": "0"}
    return {key: (*row[:-1], spelled.get(row[-1], row[-1])) for key, row in found.items()}


def _read(kind: str, where: str, name: str) -> list[tuple[Any, ...]]:
    columns = ", ".join(MAPPING.values())
    if kind in ("sqlite", "table"):
        with closing(sqlite3.connect(f"{where}/jobs.sqlite3")) as connection:
            return connection.execute(f"SELECT {columns} FROM {name}").fetchall()
    if kind == "postgresql":
        import psycopg

        with psycopg.connect(where) as connection:
            return connection.execute(f"SELECT {columns} FROM {name}".encode()).fetchall()
    path = Path(where) / name
    if kind == "csv":
        with path.open(newline="") as file:
            return [tuple(row) for row in list(csv.reader(file))[1:]]
    return [
        tuple(json.loads(line)[column] for column in MAPPING.values())
        for line in path.read_text().splitlines()
    ]


def told(states: dict[str, dict[str, Any]]) -> Rows:
    """What `content` would give, had a sink these."""
    return {
        key: (
            state["name"],
            state["status"],
            "" if state["exit_code"] is None else str(state["exit_code"]),
            str(int(state["cleaned"])),
        )
        for key, state in states.items()
    }


def killed_pull(app: str, new_sink: Callable[[], Sink], at: int) -> list[int]:
    """In a process of its own, killed as soon as `at` lines of the sinks' code have run.

    Where it comes to its end, it gives how many had run when each line was reached first, and at the end.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _run_to(app, new_sink, at, writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return list(json.loads(said)) if said else []


def _run_to(app: str, new_sink: Callable[[], Sink], at: int, writer: int) -> None:
    folder, lines, first = str(Path(sinks.__file__).parent), 0, dict[tuple[str, int], int]()

    def count(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line":
            lines += 1
            first.setdefault((frame.f_code.co_filename, frame.f_lineno), lines)
        if lines == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    try:
        sink = new_sink()
        sys.settrace(count)
        pull(RemoteJobSubmitter(app), sink)
        sys.settrace(None)
        os.write(writer, json.dumps([*first.values(), lines]).encode())
    finally:
        os._exit(0)


def main(app: str, kind: str, where: str, prefix: str, kills: str) -> None:
    """The sinks PREFIX1, PREFIX2, ...: a pull into each, killed further on each time. Prints how many lines there were."""
    answer.CHUNK_RECORDS = 4
    *first, total = killed_pull(app, lambda: make(kind, where, f"{prefix}0"), -1)
    count = int(kills)
    # A table is written all the time, a file only at the end.
    points = [total * number // (count + 1) for number in range(1, count + 1)]
    if kind in ("csv", "jsonl"):
        points = first[-count:]
    for number, at in enumerate(points, 1):
        killed_pull(app, lambda number=number: make(kind, where, f"{prefix}{number}"), at)
    print(total)


if __name__ == "__main__":
    main(*sys.argv[1:])

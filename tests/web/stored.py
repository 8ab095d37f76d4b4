"""The database of the test's home, looked into from outside of the app: as the commands left it."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, NullPool, create_engine, text

from remoteweb.config import from_environment
from remoteweb.database import database_url


def address() -> URL:
    """Of what a command would use that is started now."""
    folder = Path(os.environ["HOME"], ".local", "state", "remoteweb")
    return database_url(from_environment(os.environ)["SQLALCHEMY_DATABASE_URI"], folder)


def rows(query: str) -> list[tuple[Any, ...]]:
    engine = create_engine(address(), poolclass=NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def write(statement: str, **values: Any) -> None:
    engine = create_engine(address(), poolclass=NullPool)
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        connection.execute(text(statement), values)


def is_whole() -> bool:
    """What a kill or an interruption must not have harmed. PostgreSQL itself sees to that."""
    return address().drivername != "sqlite" or rows("PRAGMA integrity_check") == [("ok",)]

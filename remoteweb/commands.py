"""What every command has around it: the app's context, and a sentence where the database fails."""

import functools
from collections.abc import Callable
from typing import Any

from flask.cli import with_appcontext
from sqlalchemy.exc import DBAPIError

from remoteweb.upgrade import unusable


def with_database(command: Callable[..., Any]) -> Callable[..., Any]:
    """For the function of a command. Its database may be locked, damaged or gone at any of its queries."""

    @functools.wraps(command)
    def guarded(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except DBAPIError as error:
            raise unusable(error) from error

    return with_appcontext(guarded)

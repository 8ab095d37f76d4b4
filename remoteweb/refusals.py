"""What a person reads when something cannot be done: a page of its own, or a message on the open page."""

from flask import Flask, Response, current_app, make_response, render_template, request
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from werkzeug.exceptions import HTTPException

from remotejobs.errors import RemoteJobsError
from remoteweb.actions import JobGone
from remoteweb.database import is_busy

WORDS = {
    404: ("There is nothing here", "What was here may have been removed, or the address has a mistake."),
    405: ("That cannot be done here", "Go back to the list, and use the button there."),
    413: ("That is too much at once", "Nothing of it was kept."),
    500: (
        "Something went wrong here",
        "It was written to the log of remoteweb. What you asked before is kept.",
    ),
}
BUSY = ("The database is busy", "Nothing was changed. Try again in a moment.")
UNUSABLE = (
    "The database cannot be used",
    "Nothing was changed. Why was written to the log of remoteweb; “remoteweb serve” makes a database that is missing.",
)
OTHER = ("That did not work", "Nothing was changed. Go back to the list, and try again.")


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(RemoteJobsError, _wrong_input)
    for gone in (JobGone, ObjectDeletedError, StaleDataError):
        app.register_error_handler(gone, _gone)
    # PostgreSQL's word for a table that was never made is the last of these.
    for trouble in (OperationalError, InterfaceError, ProgrammingError):
        app.register_error_handler(trouble, _database_trouble)


def answer(status: int, title: str, sentence: str) -> Response:
    """A document; or, for a part of an open page, a message in it that leaves the rest as it is."""
    template = "access/_message.html" if "HX-Request" in request.headers else "access/refused.html"
    return make_response(render_template(template, status=status, title=title, sentence=sentence), status)


def _refused(error: HTTPException) -> Response:
    status = error.code or 500
    response = answer(status, *WORDS.get(status, OTHER))
    # What the status needs beside it, such as the methods that are allowed.
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _wrong_input(error: RemoteJobsError) -> Response:
    return answer(400, "That cannot be used", str(error))


def _gone(_error: Exception) -> Response:
    """Somebody removed it between the look and the tap."""
    return answer(404, *WORDS[404])


def _database_trouble(error: DBAPIError) -> Response:
    current_app.logger.error("The database refused: %s", error.orig)
    return answer(503, *(BUSY if is_busy(error) else UNUSABLE))

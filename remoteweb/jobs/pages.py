"""The list: whole, or its next page."""

from flask import render_template, request

from remoteweb.jobs import bp
from remoteweb.jobs.filters import Cursor, Filter
from remoteweb.jobs.listing import listing


@bp.get("/")
def index() -> str:
    chosen = Filter.parse(request.args)
    after = Cursor.parse(request.args.get("after", ""))
    shown = listing(chosen, after)
    if not wants_part():
        return render_template("jobs/index.html", listing=shown)
    return render_template("jobs/_more.html" if after else "jobs/_list.html", listing=shown)


def wants_part() -> bool:
    """htmx says what it will do with the answer. Going back asks for a whole page, and gets one."""
    return request.headers.get("HX-Request-Type") == "partial"

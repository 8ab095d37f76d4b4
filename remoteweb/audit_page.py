"""The page that shows what was done by whom: to an administrator everything, to anybody else what they did themselves."""

import re

from flask import Blueprint, render_template, request

from remoteweb import audit

bp = Blueprint("audit", __name__)
PAGE = 50
_NUMBER = re.compile(r"[0-9]{1,9}\Z", re.ASCII)


@bp.get("/audit")
def index() -> str:
    before = request.args.get("before", "")
    rows = audit.latest(PAGE + 1, int(before) if _NUMBER.match(before) else None)
    return render_template(
        "audit/index.html", rows=rows[:PAGE], more=rows[PAGE - 1].id if len(rows) > PAGE else None
    )

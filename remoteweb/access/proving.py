"""The page that asks for a fresh proof of identity."""

from flask import render_template, request

from remoteweb.access import bp
from remoteweb.access.onward import onward


@bp.get("/proof")
def prove() -> str:
    return render_template("access/proof.html", onward=onward(request.args.get("next")))

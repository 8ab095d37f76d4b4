"""What every template can use."""

import secrets

from flask import Blueprint, g, request
from flask.blueprints import BlueprintSetupState
from markupsafe import Markup

from remoteweb.assets import asset_url
from remoteweb.jobs import limits, taps, words
from remoteweb.jobs.examples import APP, ARGUMENTS
from remoteweb.jobs.listing import chips
from remoteweb.jobs.programs import program
from remoteweb.jobs.times import clock, duration, our_time, used
from remoteweb.sync.queries import overview

SPRITE = "vendor/lucide-1.62.0.svg"


def register(bp: Blueprint) -> None:
    for function in (icon, clock, duration, our_time, used, job_url, new_key, chips, overview, program):
        bp.add_app_template_global(function)
    bp.record_once(_add_values)


def _add_values(state: BlueprintSetupState) -> None:
    environment = state.app.jinja_env
    # A line of template code alone leaves no empty line in the page.
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.globals.update(
        words=words, taps=taps, limits=limits, example_app=APP, example_arguments=ARGUMENTS
    )


def icon(name: str, tone: str = "") -> Markup:
    """An icon says nothing by itself: it stands beside a word, or in a button that has a label."""
    if "sprite" not in g:
        g.sprite = asset_url(SPRITE)
    return Markup(f'<svg class="i {tone}" aria-hidden="true"><use href="{g.sprite}#{name}"/></svg>')  # noqa: S704  our own names


def job_url(id_: int, verb: str = "") -> str:
    """As url_for says it, which is too slow to be asked a hundred times for a page."""
    return f"{request.script_root}/jobs/{id_}{verb and '/' + verb}"


def new_key() -> str:
    """Of one button in one page: a second tap on it is the same request, the next page's button another."""
    return secrets.token_urlsafe(12)

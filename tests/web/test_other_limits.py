"""A job that is run again with other limits: a form on its page, and a row that says which."""

import json

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web import rows

from remoteweb import sending
from remoteweb.database import db
from remoteweb.models import Action

HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}
TYPED = {"idem_key": "button-1", "seen": "1", "at": "job"}
SUMMARY = "<summary>Run again with other limits</summary>"


@pytest.fixture
def failed(app: Flask) -> int:
    with app.app_context():
        of = rows.source(rows.server())
        return rows.job(of, "train", "failed", scheduler="slurm", reason="time_limit").id


def values(app: Flask) -> list[dict[str, str]]:
    with app.app_context():
        return [json.loads(text) for text in db.session.scalars(db.select(Action.values).order_by(Action.id))]


@pytest.mark.parametrize(
    ("typed", "kept", "said"),
    [
        ({"walltime": "12:00"}, {"walltime": "43200"}, "time limit 12 h"),
        ({"walltime": "1-12:00"}, {"walltime": "129600"}, "time limit 1 d 12 h"),
        ({"memory": "32G"}, {"memory": "32768"}, "memory 32 GB"),
        ({"cores": "8", "partition": "long"}, {"cores": "8", "partition": "long"}, "cores 8, partition long"),
        ({"walltime": " ", "memory": ""}, {}, ""),
        ({"account": "other", "extra": "--nice"}, {}, ""),
    ],
)
def test_what_was_typed_waits_with_the_tap_and_is_told(
    app: Flask, client: FlaskClient, failed: int, typed: dict[str, str], kept: dict[str, str], said: str
) -> None:
    assert SUMMARY in client.get(f"/jobs/{failed}").text
    part = client.post(f"/jobs/{failed}/resubmit", data={**TYPED, **typed}, headers=HTMX).text.replace(
        "\xa0", " "
    )
    assert values(app) == [kept]
    assert ("Run again at next sync" + (f", with {said}" if said else "")) + "<" in part
    assert SUMMARY not in part, "one is under way"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"walltime": "soon"}, "hours and minutes"),
        ({"walltime": "8"}, "hours and minutes"),
        ({"memory": "lots"}, "give megabytes"),
        ({"memory": "0"}, "memory"),
        ({"cores": "-1"}, "cores"),
        ({"cores": "1e9"}, "cores"),
        ({"partition": "a b; rm -rf /"}, "partition"),
        ({"partition": "<script>"}, "partition"),
        ({"walltime": "8:00\n#SBATCH"}, "hours and minutes"),
        ({"partition": ",".join(["wide", "long"] * 11)}, "at most 100 characters"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_stays_typed(
    app: Flask, client: FlaskClient, failed: int, typed: dict[str, str], sentence: str
) -> None:
    part = client.post(f"/jobs/{failed}/resubmit", data={**TYPED, **typed}, headers=HTMX)
    assert part.status_code == 200 and sentence in part.text
    page = client.post(f"/jobs/{failed}/resubmit", data={**TYPED, **typed, "cores": typed.get("cores", "4")})
    assert page.status_code == 422 and sentence in page.text
    assert "hx-morph-skip open><summary>Run again" in page.text and ' name="cores" value="' in page.text
    assert "<script>" not in page.text
    assert values(app) == []


def test_one_that_waits_already_with_other_limits_is_not_passed_off_as_this_one(
    app: Flask, client: FlaskClient, failed: int
) -> None:
    client.post(f"/jobs/{failed}/resubmit", data=TYPED, headers=HTMX)
    again = {**TYPED, "idem_key": "button-2", "walltime": "12:00"}
    part = client.post(f"/jobs/{failed}/resubmit", data=again, headers=HTMX).text
    assert "asked to run again already, with other limits" in part
    assert values(app) == [{}]


def test_a_plain_process_has_no_limits_to_change(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        job = rows.job(rows.source(rows.server()), "train", "failed", scheduler="process").id
    assert SUMMARY not in client.get(f"/jobs/{job}").text
    client.post(f"/jobs/{job}/resubmit", data={**TYPED, "walltime": "12:00"})
    assert values(app) == [{}]


def test_they_go_out_with_the_exchange_in_the_words_of_a_request(
    app: Flask, client: FlaskClient, failed: int
) -> None:
    client.post(f"/jobs/{failed}/resubmit", data={**TYPED, "walltime": "12:00", "cores": "8"})
    with app.app_context():
        action = db.session.scalars(db.select(Action)).one()
        sent = sending._request(action, 0.0)
    assert sent is not None and getattr(sent.request, "changes", None) == ("walltime=43200", "cores=8")

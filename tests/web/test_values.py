"""What no column takes: it comes from servers and from browsers, and is no error page and no failed sync."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Float, Integer, Text, cast, literal
from web import rows
from web.syncing import APP, Registry, sync

from remoteweb import untrusted
from remoteweb.database import db
from remoteweb.models import Job

HASH = "0123456789abcdef0123456789abcdef"
TEXTS = st.text(st.sampled_from('\0\n\x1b\u202e\ud800\udfff\U0010ffff\ufeff"\\ aé'), max_size=8)
NUMBERS = st.integers() | st.sampled_from([2**31, -(2**31) - 1, 2**63]) | st.floats() | st.booleans()


# The app stays the same: nothing is written.
@given(text=TEXTS, number=NUMBERS, values=st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS), max_size=2))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_server_says_every_column_takes_it(
    app: Flask, text: str, number: Any, values: dict[str, Any]
) -> None:
    line, whole = untrusted.line(text, 20), untrusted.whole(number)
    moment, document = untrusted.moment(number), untrusted.document(values)
    columns = (cast(literal(line), Text), cast(literal(whole, Integer), Integer))
    columns += (cast(literal(moment, Float), Float), cast(literal(document), Text))
    with app.app_context():
        kept = db.session.execute(db.select(*columns)).one()
    assert tuple(kept) == (line, whole, moment, document)


NUMBER_WORDS = ["99999", "9" * 12, "9" * 40, "-" + "9" * 40, "1e999", "nan", "inf", "0x10"]


def test_numbers_beyond_every_column_end_no_sync(app: Flask, client: FlaskClient, home: Path) -> None:
    """One job for each, with the number wherever a record has one; and text that no column takes beside it."""
    registry = Registry(home)
    bad = "a\x00b\ud800c"
    for n, number in enumerate(NUMBER_WORDS, 1):
        key = f"{HASH}_{n}"
        raw = f'{{"name": "\\u0000 {n}", "walltime": {n}, "other": {"9" * 400}, "\\u0000": "\\ud800"}}'
        (registry.folder / "settings" / f"{key}.json").write_text(raw)
        registry.fact(
            key, "id", scheduler="process", id=number + bad, submitted=number, incarnation=bad, host=bad
        )
        registry.fact(key, "start.1", at=number, node=bad)
        registry.fact(key, "exit.1", at=number, code=number, seconds=number)
        registry.fact(key, "gone.1", at=number, why=bad)
    with app.app_context():
        result = sync([APP])
        assert [(one.jobs, one.error) for one in result.sources] == [(len(NUMBER_WORDS), "")]
        ids = list(db.session.scalars(db.select(Job.id)))
    assert {client.get(path).status_code for path in ("/", *(f"/jobs/{id_}" for id_ in ids))} == {200}


HUGE = "9" * 30
ADDRESSES = [
    "/?q=%00",
    "/?q=a%00b%ed%a0%80",
    f"/?server={HUGE}",
    "/?server=999999999",
    f"/?after=1.{HUGE[:18]}.{HUGE[:18]}",
    f"/?after=1.{HUGE}.1",
    f"/jobs/{HUGE}",
    "/jobs/2147483647",
    "/view?view=%00",
    "/enter/%00",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_an_error_page_of_the_database(app: Flask, client: FlaskClient, address: str) -> None:
    assert client.get(address).status_code in (200, 303, 404)
    tag = f"0.{HUGE[:18]}"
    assert client.get(address, headers={"HX-PTag": tag, "Cookie": "remoteweb=\x00"}).status_code < 500


@pytest.mark.parametrize(
    "form",
    [
        {"idem_key": "some\0button"},
        {"idem_key": "some-\udcff-button"},
        {"idem_key": "some-button", "seen": HUGE},
        {"idem_key": "some-button", "seen": f"-{HUGE}"},
        {"idem_key": "some-button", "seen": "\0"},
        {"idem_key": "some-button", "at": "\0"},
        {"server": HUGE},
    ],
    ids=str,
)
def test_no_form_is_an_error_page_of_the_database(
    app: Flask, client: FlaskClient, form: dict[str, str]
) -> None:
    with app.app_context():
        job = rows.job(rows.source(rows.server()), "train", "failed").id
    for address in (f"/jobs/{job}/cancel", f"/jobs/{job}/resubmit", "/sync", "/example"):
        data = urlencode(form, errors="surrogateescape")
        kind = "application/x-www-form-urlencoded"
        assert client.post(address, data=data, content_type=kind).status_code < 500

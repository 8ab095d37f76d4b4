"""Every route, asked what no browser asks: no answer is an error, tells of our inside or of another, or lacks its headers."""

import os

import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from web.made_once import on_postgresql
from web.requests_of_all_kinds import ASKED, FIELDS, Asked, options_of, path_of
from web.signing_in import quick_hashes
from web.visiting import World, world

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "50000"))
FIRST_SEED = int(os.environ.get("FUZZ_SEED", "1"))
TOGETHER = 10  # requests of an example
IN_SHORT = 40 if not on_postgresql else 15  # examples
EXAMPLES = 100  # of hypothesis at a time: it remembers what it tried, and would slow down

__all__ = ["quick_hashes"]


@pytest.fixture
def peopled(app: Flask, quick_hashes: None) -> World:
    return world(app)


def ask_all(peopled: World, several: list[Asked]) -> None:
    peopled.refresh()
    ids, uuids = peopled.ids(), peopled.uuids()
    for asked in several:
        path, methods = path_of(peopled.app, asked, ids, uuids)
        peopled.visitors[asked.who].ask(path, **options_of(asked, methods))


def run(peopled: World, examples: int, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(ASKED, min_size=TOGETHER, max_size=TOGETHER))
    def every_answer_is_ours(several: list[Asked]) -> None:
        ask_all(peopled, several)

    every_answer_is_ours()


def test_no_request_gets_an_error_of_ours_or_what_belongs_to_somebody_else(peopled: World) -> None:
    assert {"idem_key", "q", "next", "password", "server"} <= set(FIELDS)
    run(peopled, IN_SHORT, FIRST_SEED)
    for visitor in peopled.visitors:  # the words are there to be found
        own = [one.word for one in peopled.owners if visitor.account == one.id]
        assert all(word in visitor.ask("/").text for word in own)


@pytest.mark.soak
@pytest.mark.timeout(14400)
def test_fifty_thousand_requests(peopled: World) -> None:
    number = FIRST_SEED
    for number in range(FIRST_SEED, FIRST_SEED + max(1, REQUESTS // TOGETHER // EXAMPLES)):
        run(peopled, EXAMPLES, number)
    slowest = max(visitor.slowest for visitor in peopled.visitors)
    print(f"seeds {FIRST_SEED} to {number}; the slowest answer took {slowest[0]:.2f} s: {slowest[1]!r}")

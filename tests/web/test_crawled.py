"""Whoever follows every link and sends every form of the pages: nothing of it is dead, an error, or another's."""

import pytest
from flask import Flask
from web.crawling import Crawler
from web.signing_in import quick_hashes
from web.visiting import World, world

# What no page of ours leads to by itself: printed and sent links, what a passkey's script or a second step sends.
WITHOUT_A_LINK = {
    *(
        "healthz",
        "readyz",
        "access.enter",
        "access.invited",
        "access.accept",
        "access.with_code",
        "access.with_passkey",
    ),
    *("access.prove_by_passkey", "access.add_passkey", "access.remove_passkey", "access.remove_password"),
    *(
        "access.with_password",
        "access.sign_in",
        "access.prove",
        "access.prove_by_password",
        "access.remove_code",
    ),
    *("access.end_session", "access.enable_user"),
    # Of the pages of logins two are looked at, and these are on a third: the one that failed, the one that waits for its key.
    *("servers.again", "servers.accept_besides", "servers.try_key"),
    # Of the pages of keys two are looked at as well, and the one whose key is being made may be on a third.
    "servers.watch_key",
}

__all__ = ["quick_hashes"]


@pytest.fixture
def peopled(app: Flask, quick_hashes: None) -> World:
    return world(app)


def test_every_link_and_every_form_of_every_page_is_answered_to_everybody(peopled: World) -> None:
    reached = set()
    for visitor in peopled.visitors:
        crawler = Crawler(visitor)
        crawler.crawl("/")
        assert crawler.dead == [] or visitor.account is None, visitor.account
        assert len(crawler.seen) > 5
        reached |= crawler.endpoints
    every = {rule.endpoint for rule in peopled.app.url_map.iter_rules()}
    assert every - reached - WITHOUT_A_LINK == set(), "no page leads there"

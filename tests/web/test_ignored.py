"""What a server says stands where htmx looks at nothing: inside `hx-ignore`, on every page and in every part of one."""

from html.parser import HTMLParser

import pytest
from flask import Flask
from web.crawling import HTMX
from web.signing_in import quick_hashes
from web.visiting import World, world

__all__ = ["quick_hashes"]
VOID = {"area", "br", "hr", "img", "input", "link", "meta", "use", "rect"}


class Outside(HTMLParser):
    """The texts with `word` in them that are not inside an element with hx-ignore."""

    def __init__(self, text: str, word: str) -> None:
        super().__init__()
        self.word = word
        self.open: list[tuple[str, bool]] = []
        self.found: list[str] = []
        self.inside = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            is_ignored = tag == "title" or any(name == "hx-ignore" for name, _ in attributes)
            self.open.append((tag, is_ignored or (bool(self.open) and self.open[-1][1])))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """An icon's parts: they hold no text."""

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, text: str) -> None:
        if self.word in text:
            is_ignored = bool(self.open) and self.open[-1][1]
            self.inside += is_ignored
            self.found += [] if is_ignored else [text.strip()[:100]]


@pytest.fixture
def peopled(app: Flask, quick_hashes: None) -> World:
    return world(app)


def test_what_a_server_says_stands_inside_hx_ignore(peopled: World) -> None:
    ada, word, inside = peopled.visitors[0], peopled.owners[0].word, 0
    jobs = [f"/jobs/{number}" for number in range(1, 5)]
    for path in ("/", "/changes", "/sync", "/servers", "/audit", *jobs, *(f"{job}/changes" for job in jobs)):
        for headers in ({}, HTMX):
            looked = Outside(ada.ask(path, headers=headers).text, word)
            assert looked.found == [], path
            inside += looked.inside
    assert inside > 50

"""An invitation on the page of accounts: its link, and the picture of it that a phone's camera reads."""

import segno
from flask import Flask
from playwright.sync_api import Page, expect

from .conftest import Open

# Which of the squares are dark, as the browser fills them.
SQUARES = """() => {
    const picture = document.querySelector('svg.picture'), size = picture.viewBox.baseVal.width;
    const dark = picture.querySelector('path:last-child'), rows = [...Array(size).keys()];
    return rows.map(y => rows.map(x => dark.isPointInFill(new DOMPoint(x + .5, y + .5)) ? 1 : 0));
}"""


def invite(page: Page, name: str) -> str:
    """The link."""
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make an invitation").click()
    link = page.get_by_text("/invited/")
    expect(link).to_be_visible()
    return link.inner_text()


def test_the_picture_of_an_invitation_is_that_of_its_link(app: Flask, phone: Open) -> None:
    page = phone("/users")
    app.config["PUBLIC_URL"] = "https://jobs.example.org"
    link = invite(page, "bob")
    assert link.startswith("https://jobs.example.org/invited/")
    picture = page.get_by_role("img", name="QR code of the invitation")
    expect(picture).to_be_visible()
    box = picture.bounding_box()
    assert box is not None and box["width"] == box["height"] >= 200
    made = segno.make(link, error="m").matrix_iter(border=4)
    assert page.evaluate(SQUARES) == [list(row) for row in made]


def test_a_link_that_only_this_machine_can_open_has_no_picture_for_a_phone(phone: Open) -> None:
    page = phone("/users")
    assert "http://127.0.0.1" in invite(page, "bob")
    expect(page.get_by_role("img", name="QR code of the invitation")).to_have_count(0)

"""A phone is enrolled, signs in and proves who it is: in a real Chromium, with its virtual authenticator."""

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, CDPSession, Page
from web.signing_in import make, quick_hashes  # noqa: F401
from web.test_access_browser import base  # noqa: F401
from web.test_proof import grow_old

from remoteweb.access import entry, people
from remoteweb.accounts import Passkey
from remoteweb.database import db

pytestmark = pytest.mark.sqlite
WATCH_CSP = "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def chromium(desktop_chromium: Browser) -> Browser:
    return desktop_chromium


@pytest.fixture
def phone(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, service_workers="block")
    context.add_init_script(WATCH_CSP)
    page, said = context.new_page(), []
    page.set_default_timeout(20_000)
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert [text for text in said if "status of 40" not in text] == []


def authenticator(page: Page) -> tuple[CDPSession, str]:
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    added = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return devtools, added["authenticatorId"]


def test_an_invited_phone_comes_in_by_its_passkey_from_then_on(app: Flask, base: str, phone: Page) -> None:  # noqa: F811
    with app.app_context():
        invitation = entry.new_invitation(people.create("ada"), base)
    devtools, key = authenticator(phone)
    phone.goto(invitation)
    phone.get_by_role("button", name="Let this browser in").click()
    phone.get_by_label("A name for it").fill("My phone")
    phone.get_by_role("button", name="Add a passkey").click()
    phone.get_by_text("The passkey is added.").wait_for()
    assert "My phone" in phone.inner_text("main")
    made = devtools.send("WebAuthn.getCredentials", {"authenticatorId": key})["credentials"]
    assert [(one["rpId"], one["isResidentCredential"]) for one in made] == [("localhost", True)]

    phone.get_by_role("button", name="Sign out here").click()
    phone.goto(base + "/servers")
    phone.get_by_role("button", name="Sign in with a passkey").click()
    # The address was that of the page from the beginning: signing in happened in its place.
    phone.get_by_role("heading", name="Servers", exact=True).wait_for()

    grow_old(app, 1000)
    phone.goto(base + "/account/password")
    phone.get_by_role("button", name="Prove it with a passkey").click()
    phone.wait_for_url(base + "/account/password")
    with app.app_context():
        assert [one.label for one in db.session.scalars(db.select(Passkey))] == ["My phone"]

    # The same phone once more: it says itself that it has one.
    phone.goto(base + "/account/passkey")
    phone.get_by_role("button", name="Add a passkey").click()
    phone.get_by_text("has a passkey for this account already").wait_for()

    # A finger that is not the person's.
    phone.goto(base + "/account")
    phone.get_by_role("button", name="Sign out here").click()
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": False})
    phone.get_by_role("button", name="Sign in with a passkey").click()
    phone.get_by_text("Nothing was sent").wait_for()
    assert phone.url == base + "/sign-in"


def test_without_javascript_or_under_a_number_the_password_is_what_is_offered(
    app: Flask,
    base: str,  # noqa: F811
    chromium: Browser,
) -> None:
    make(app, "ada")
    for scripts, address in ((False, base), (True, base.replace("localhost", "127.0.0.1"))):
        context = chromium.new_context(java_script_enabled=scripts)
        page = context.new_page()
        page.goto(address + "/sign-in")
        assert page.get_by_label("Password").is_visible()
        assert not page.get_by_role("button", name="Sign in with a passkey").is_visible()
        context.close()

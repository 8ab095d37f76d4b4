"""A crawler: it follows every link and sends every form of every page that it comes to, with htmx and without."""

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from web.visiting import Visitor
from werkzeug.test import TestResponse

HTMX = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Current-URL": "http://localhost/"}
ALIKE = 2  # addresses that differ in their numbers alone: so many of them are looked at
# Sent at the very end: they shut the crawler out.
LAST = ("/disable", "/remove", "/end-others", "/sign-out")


class Form(NamedTuple):
    method: str
    address: str
    fields: tuple[tuple[str, str], ...]


class Page(HTMLParser):
    """Addresses and forms of a document or a part of one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._form: tuple[str, str] | None = None
        self._fields: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attributes}
        self.links += [
            has[name] for name in ("href", "src", "hx-get") if tag != "form" and has.get(name, "#")[:1] != "#"
        ]
        if tag == "form":
            self._form = (has.get("method", "get"), has.get("action", ""))
            self._fields = []
        elif "name" in has and tag in ("input", "select", "button", "textarea"):
            self._fields.append((has["name"], has.get("value") or "some words to try"))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._form:
            self.forms.append(Form(*self._form, tuple(self._fields)))
            self._form = None


@dataclass
class Crawler:
    visitor: Visitor
    seen: Counter[str] = field(default_factory=Counter)
    dead: list[str] = field(default_factory=list)  # what a page of ours led to, and is not there
    endpoints: set[str] = field(default_factory=set)
    forms: set[Form] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)

    def crawl(self, *addresses: str) -> None:
        waiting = list(addresses)
        while waiting:
            waiting += self._visit(waiting.pop(0))
            if not waiting:
                waiting = self._send_forms(is_last=False)
        self._send_forms(is_last=True)

    def _visit(self, address: str) -> list[str]:
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost") or not self._is_new(parts.path, parts.query):
            return []
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        found = []
        for headers in ({}, HTMX):
            answer = self.visitor.ask(path, headers=headers)
            if answer.status_code not in (200, 204, 303, 304):
                self.dead.append(f"{answer.status_code} {path}")
            found += self._read(answer, path)
        return found

    def _is_new(self, path: str, query: str) -> bool:
        pattern = re.sub(r"\d+", "N", path + "?" + re.sub("=[^&]*", "", query))
        self.seen[pattern] += 1
        return self.seen[pattern] <= ALIKE

    def _read(self, answer: TestResponse, path: str) -> list[str]:
        self._note(answer)
        links = [answer.headers[name] for name in ("Location", "HX-Redirect") if name in answer.headers]
        if answer.mimetype == "text/html":
            page = Page(answer.text)
            links += page.links
            self.forms |= {form._replace(address=form.address or path) for form in page.forms}
        return [urljoin(path, link).partition("#")[0] for link in links]

    def _send_forms(self, is_last: bool) -> list[str]:
        found = []
        for form in sorted(self.forms):
            pattern = re.sub(r"[0-9a-f-]{36}|\d+", "N", form.address)
            if pattern in self.sent or (form.address.endswith(LAST) and not is_last):
                continue
            self.sent.add(pattern)
            for headers in (HTMX, {}):
                key = "data" if form.method == "post" else "query_string"
                answer = self.visitor.ask(
                    form.address, method=form.method.upper(), headers=headers, **{key: dict(form.fields)}
                )
                if answer.status_code in (404, 405) and not is_last:
                    self.dead.append(f"{answer.status_code} {form.address}")
                found += self._read(answer, form.address)
        return found

    def _note(self, answer: TestResponse) -> None:
        urls = self.visitor.app.url_map.bind("localhost")
        request = answer.request
        if urls.test(request.path, request.method):
            self.endpoints.add(urls.match(request.path, request.method)[0])

"""Requests that no browser sends: what hypothesis makes of every route, of every name that a form or an address may have."""

import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, urlencode

from flask import Flask
from hypothesis import strategies as st
from web.payloads import PAYLOADS

ROOT = Path(__file__).parents[2]
CODE = "".join(path.read_text() for path in sorted((ROOT / "remoteweb").rglob("*.py")))
MARKUP = "".join(path.read_text() for path in sorted((ROOT / "templates").rglob("*.html")))
# Every name that the program asks for in a form or an address, and every one that a form of ours sends.
FIELDS = sorted(
    set(re.findall(r"(?:form|args|values|files)(?:\.get(?:list)?\(|\[)\"([a-z_]+)\"", CODE))
    | set(re.findall(r"<(?:input|select|textarea|button)\b[^>]*\sname=\"([a-z_]+)\"", MARKUP))
)
METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "X" * 300]
HEADERS = [
    *("HX-Request", "HX-Request-Type", "HX-PTag", "HX-Target", "HX-Trigger", "HX-Current-URL", "HX-Boosted"),
    *(
        "Range",
        "If-Range",
        "If-None-Match",
        "If-Modified-Since",
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
    ),
    *("Referer", "Origin", "User-Agent", "Authorization", "Sec-Purpose", "Sec-Fetch-Site", "Sec-Fetch-Mode"),
    *(
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "X-HTTP-Method-Override",
        "Cookie",
    ),
    *("Content-Length", "Transfer-Encoding", "Expect", "Host", "X-Remoteweb"),
]
VALUES = [
    *(
        "",
        "0",
        "1",
        "true",
        "partial",
        "job",
        "list",
        "on",
        "-1",
        "1e9",
        "NaN",
        "0x10",
        "١",
        "9" * 30,
        str(2**31),
    ),
    *(
        "0.0",
        "1.999999999999999999",
        "3.5.7",
        "*",
        "bytes=0-0",
        "bytes=-99999999999",
        "bytes=5-2,9-",
        'W/"x"',
    ),
    *(
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Mon, 99 Foo 0000 99:99:99",
        "gzip;q=0",
        "en;q=x",
        "none",
        "same-origin",
    ),
    *(
        "cross-site",
        "http://localhost/",
        "http://localhost/../x?y#z",
        "//evil.example",
        "http://[::1",
        "http://localhost:x/",
    ),
    *(
        "some-button-key",
        "' OR 1=1 --",
        "%",
        "_",
        "a" * 65,
        '"',
        "../../etc/passwd",
        "%00",
        "running",
        "\0",
        "\x1b[2J",
    ),
    *(
        "{}",
        "[]",
        '{"id":1}',
        "null",
        "[[[[[[",
        "\ud800",
        "é",
        "\u202e",
        "\uffff",
        "\U0001f600",
        "prefetch",
        "guest",
    ),
    *("x" * 4100, "remoteweb=a; remoteweb=b", "remoteweb=\xff; session=\xfe", "100-continue", "evil.example"),
]
TYPES = [
    *(
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-7",
        "text/plain",
        "",
    ),
    *(
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b",
    ),
    *(
        "text/html; charset=\xff",
        "application/x-www-form-urlencoded; charset=no-such",
        "/",
        "multipart/mixed;boundary=b",
    ),
]
TEXTS = (
    st.sampled_from(VALUES)
    | st.sampled_from(PAYLOADS)
    | st.text(st.sampled_from("\0\n\r\t%&=+;,\"'<>\\/.:é\u202e\ud800\U0001f600 a1"), max_size=12)
)
PAIRS = st.lists(st.tuples(st.sampled_from(FIELDS) | TEXTS, TEXTS), max_size=5)
BODIES = (
    st.just(b"")
    | st.binary(max_size=40)
    | st.sampled_from(
        [
            *(
                b"a" * 4000,
                b"=" * 2000,
                b"&" * 20000,
                b"a=b&" * 1500,
                b"x=" + b"%" * 500,
                b"\xff\xfe=\xed\xa0\x80",
                b"{" * 999,
            ),
            b'--b\r\nContent-Disposition: form-data; name="idem_key"\r\n\r\nsome-button\r\n--b--\r\n',
            b'--b\r\nContent-Disposition: form-data; name="q"; filename="../../x"\r\nContent-Type: x/y\r\n\r\n\0\r\n--b--',
            b"--b\r\nContent-Disposition: form-data; name*=utf-9''%ff\r\n\r\nx\r\n--b",
            b"--b\r\n" * 1200,
        ]
    )
)


class Asked(NamedTuple):
    who: int
    rule: int
    path_values: list[Any]  # a number: one that exists; a text: itself
    query: list[tuple[str, str]]
    method: int
    headers: list[tuple[str, str]]
    form: list[tuple[str, str]] | bytes
    content_type: int

    def __repr__(self) -> str:
        return f"Asked{tuple(self)}"


ASKED = st.builds(
    Asked,
    who=st.integers(0, 4),
    rule=st.integers(0, 999),
    path_values=st.lists(st.integers(0, 99) | st.integers(0, 99) | TEXTS, min_size=3, max_size=3),
    query=PAIRS,
    method=st.integers(0, 19),
    headers=st.lists(st.tuples(st.sampled_from(HEADERS), TEXTS), max_size=4),
    form=PAIRS | PAIRS | BODIES,
    content_type=st.just(0) | st.integers(0, 19),
)


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def path_of(app: Flask, asked: Asked, ids: list[int], uuids: list[str]) -> tuple[str, set[str]]:
    """The address of the chosen rule, and its methods."""
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: (str(rule), sorted(rule.methods or ())))
    rule = rules[asked.rule % len(rules)]
    values, path = list(asked.path_values), ""
    for is_variable, part in rule._trace:
        if not is_variable:
            path += part.replace("|", "")
            continue
        given = values.pop()
        if isinstance(given, int):
            kind = type(rule._converters[part]).__name__
            known: list[Any] = uuids if "UUID" in kind else ids if "Integer" in kind else ["app.css", "x"]
            given = str(known[given % len(known)]) if known else "1"
        path += quote_from_bytes(as_bytes(given)[:4000])
    pairs = [(as_bytes(name), as_bytes(value)) for name, value in asked.query]
    return path + ("?" + urlencode(pairs) if pairs else ""), set(rule.methods or ()) - {"OPTIONS", "HEAD"}


def options_of(asked: Asked, methods: set[str]) -> dict[str, Any]:
    """As the test client takes them. Most requests have a method that the route knows."""
    method = (
        METHODS[asked.method] if asked.method < len(METHODS) else sorted(methods)[asked.method % len(methods)]
    )
    body = (
        asked.form
        if isinstance(asked.form, bytes)
        else urlencode([(as_bytes(n), as_bytes(v)) for n, v in asked.form])
    )
    given = {
        "method": method,
        "content_type": TYPES[asked.content_type % len(TYPES)],
        "environ_overrides": {},
    }
    if method not in ("GET", "HEAD"):
        given["data"] = body
    for name, value in asked.headers:
        # As a server hands them over: bytes as latin-1, and no end of a line.
        text = as_bytes(value).decode("latin-1").replace("\r", " ").replace("\n", " ").replace("\0", " ")
        key = name.upper().replace("-", "_")
        given["environ_overrides"]["HTTP_" + key if key != "CONTENT_LENGTH" else key] = text
    return given

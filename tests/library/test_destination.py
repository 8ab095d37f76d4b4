import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library.bounded import bounded

from remotejobs.destination import Destination
from remotejobs.errors import BadDestination


@pytest.mark.parametrize(
    ("text", "host", "port", "user", "port_given"),
    [
        ("alps", "alps", 22, None, False),
        ("me@alps.example.org", "alps.example.org", 22, "me", False),
        ("me@alps:2222", "alps", 2222, "me", True),
        ("alps:22", "alps", 22, None, True),
        ("127.0.0.1:2222", "127.0.0.1", 2222, None, True),
        ("[::1]:22", "::1", 22, None, True),
        ("me@[2001:db8::7]", "2001:db8::7", 22, "me", False),
        ("my_cluster", "my_cluster", 22, None, False),
        ("me@site.org@alps", "alps", 22, "me@site.org", False),
        ("  alps \n", "alps", 22, None, False),
    ],
)
def test_a_server_is_read_as_a_person_writes_it(
    text: str, host: str, port: int, user: str | None, port_given: bool
) -> None:
    destination = Destination.parse(text)
    assert (destination.host, destination.port, destination.user) == (host, port, user)
    assert destination.port_given is port_given
    assert str(destination) == text.strip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "name"),
        ("me@", "name"),
        ("@alps", "user name"),
        ("-oProxyCommand=id", "name"),
        ("x; touch /tmp/PWNED", "name"),
        ("$(id)", "name"),
        ("alps\nalps", "name"),
        ("h\x00ost", "name"),
        ("ålps", "name"),
        ("-me@alps", "user name"),
        ("m e@alps", "user name"),
        ("alps:", "port"),
        ("alps:0", "port"),
        ("alps:99999", "port"),
        ("alps:-1", "port"),
        ("alps:22x", "port"),
        ("alps:²²", "port"),
        ("::1", "brackets"),
        ("[::1", "brackets"),
        ("[::1]22", "brackets"),
        ("[alps]:22", "brackets"),
        ("[fe80::1%eth0]", "brackets"),
        ("a" * 300, "name"),
    ],
)
def test_what_is_no_server_gets_a_sentence_that_says_why(text: str, why: str) -> None:
    with pytest.raises(BadDestination) as refusal:
        Destination.parse(text)
    assert why in str(refusal.value)
    assert "[user@]server[:port]" in str(refusal.value)


def test_a_password_in_it_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadDestination, match="password") as refusal:
        Destination.parse("me:hunter2@alps")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("values", [{"host": "a b"}, {"host": "a", "port": 0}, {"host": "a", "user": "-x"}])
def test_a_destination_cannot_be_made_wrong_either(values: dict[str, object]) -> None:
    with pytest.raises(BadDestination):
        Destination(**values)  # type: ignore[arg-type]


SERVERS = st.text(max_size=60) | st.lists(
    st.sampled_from(
        [
            "me",
            "@",
            ":",
            "22",
            "99999",
            "alps",
            ".",
            "-x",
            "[",
            "]",
            "::1",
            "fe80::1%eth0",
            " ",
            "$(x)",
            "\0",
            "\u0661",
        ]
    ),
    max_size=9,
).map("".join)


def a_destination_round_trips_or_is_a_sentence(text: str) -> None:
    try:
        with bounded(1 << 20):
            destination = Destination.parse(text)
    except BadDestination as error:
        assert "[user@]server[:port]" in str(error)
        return
    again = Destination.parse(str(destination))
    assert again == destination
    assert again.port_given == destination.port_given
    assert str(destination).isascii()
    assert not set(str(destination)) & set(" \t\n;$`'\"\\|&<>()")


@settings(deadline=None)
@given(SERVERS)
def test_any_text_is_a_destination_that_round_trips_or_a_sentence(text: str) -> None:
    a_destination_round_trips_or_is_a_sentence(text)

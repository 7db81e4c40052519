"""Who may ask, and how much: read from a file that nobody else may read."""

from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.serve.access import Access, read_people
from ptune_scale.serve.config import ServeConfig

GOOD = '[alice]\ntoken = "a-long-enough-token"\n[bob]\ntoken = "another-long-token"\n'


def write(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_is_known_by_its_digest_alone(tmp_path: Path) -> None:
    people = read_people(write(tmp_path, GOOD))
    assert [person.name for person in people] == ["alice", "bob"]
    assert "a-long-enough-token" not in repr(people)
    access = Access(people)
    assert access.who("Bearer another-long-token") == people[1]
    assert access.who("bearer a-long-enough-token") == people[0]
    for header in (None, "", "Bearer", "Bearer a-long", "Basic another-long-token", "é"):
        assert access.who(header) is None


def test_a_minute_s_requests_may_come_at_once_and_then_evenly(tmp_path: Path) -> None:
    path = write(tmp_path, '[a]\ntoken = "a-long-enough-token"\nrequests_per_minute = 6\n')
    now = 0.0
    people = read_people(path)
    access = Access(people, clock=lambda: now)
    assert [access.seconds_to_wait(people[0]) for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    now = 9.0
    assert access.seconds_to_wait(people[0]) == 1
    now = 10.0
    assert [access.seconds_to_wait(people[0]) for _ in range(2)] == [0, 10]
    now = 1000.0
    assert [access.seconds_to_wait(people[0]) for _ in range(7)][-2:] == [0, 10]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "names nobody"),
        ("token = 3", "write a table for each client"),
        ("[a]\n", "16 or more letters"),
        ('[a]\ntoken = "short"', "16 or more letters"),
        ('[a]\ntoken = "with a space and long"', "without spaces"),
        ("[a]\ntoken = 3", "token must be a text"),
        (f"{GOOD}[c]\ntoken = 'another-long-token'", "the same token"),
        (f"{GOOD}requests_per_minute = 0", "a whole number, 1 or more"),
        (f"{GOOD}requests_per_minute = true", "a whole number, 1 or more"),
        (f"{GOOD}request_token = 5", "did you mean request_tokens"),
        ("[a", "--tokens"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read_people(write(tmp_path, text))


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="chmod 600"):
        read_people(write(tmp_path, GOOD, 0o644))


def test_nobody_listens_to_the_network_without_tokens(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "10.1.2.3", "example.org"):
        with pytest.raises(UserError, match="without --tokens"):
            ServeConfig.from_flags({"host": host})
        ServeConfig.from_flags({"host": host, "tokens": "tokens.toml"})
    ServeConfig.from_flags({"host": "::1"})

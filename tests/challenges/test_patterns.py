"""Reading names by a pattern: every reading is found, and no name keeps the reader busy."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpodium.challenges.naming.patterns import parse_name


def every_reading(pattern: str, name: str) -> Iterator[dict[str, str]]:
    """Try every part of the name for every placeholder: no more than what the words of the page say."""
    words = list(dict.fromkeys(re.findall(r"\{(\w+)\}", pattern)))
    parts = sorted({name[a:b] for a in range(len(name)) for b in range(a + 1, len(name) + 1)} - {""})
    parts = [part for part in parts if "/" not in part]

    def fill(left: list[str], values: dict[str, str]) -> Iterator[dict[str, str]]:
        if left:
            for part in parts:
                yield from fill(left[1:], {**values, left[0]: part})
            return
        literal = re.escape(pattern).replace(r"\*", "[^/]*")
        for word, value in values.items():
            literal = literal.replace(re.escape(f"{{{word}}}"), re.escape(value))
        if re.fullmatch(literal, name):
            yield values

    yield from fill(words, {})


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["{case}_{structure}", "{case}/{case}_{b}", "*{case}_*", "{a}{b}", "x*_{case}", "{case}", "a*b*"]),
    st.text("a_x/", min_size=1, max_size=7),
)
def test_every_reading_is_found_once(pattern: str, name: str) -> None:
    found = parse_name(pattern, name)
    assert sorted(map(repr, found)) == sorted(map(repr, every_reading(pattern, name)))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{a}_{b}_{c}_{d}", "_" * 255),  # three million readings
        ("*_*_*_*_*_{case}", "_" * 255),  # one reading in millions of ways
    ],
)
def test_name_made_to_be_read_in_many_ways_is_given_up(pattern: str, name: str) -> None:
    assert 1 <= len(parse_name(pattern, name)) <= 4096

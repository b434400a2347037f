"""Goals are read as people write them, and what cannot be read is not guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.policy_creation.synthesis.goals import LARGEST, LONGEST, money, read


@pytest.mark.parametrize(
    ("goal", "amounts"),
    [
        ("Members spend up to 2,000 euros, and report above €500.", [(2000, "euros"), (500, "euros")]),
        ("Payments over 10k need two signatures", [(10_000, "")]),
        ("Above five thousand dollars the treasurer agrees", [(5000, "dollars")]),
        ("no more than 2.000 EUR", [(2000, "euros")]),
        ("1 000 euros, 1’000 CHF and £3 million", [(1000, "euros"), (1000, "francs"), (3_000_000, "pounds")]),
        ("1,234.00 euros", [(1234, "euros")]),
        ("a limit of 300", [(300, "")]),
        ("up to 3 days, at most 5 people, over 50 %", []),
        ("at most 1234.50 euros", []),  # no whole number
        ("100000000000 euros", []),  # more than both rule languages take
        ("version 2.0 of 2026", []),
    ],
)
def test_amounts(goal: str, amounts: list[tuple[int, str]]) -> None:
    found = read(goal)
    assert [(item.value, item.currency) for item in found.amounts] == amounts
    assert all(item.quote in goal for item in found.amounts)


@pytest.mark.parametrize(
    ("goal", "periods"),
    [
        ("within two weeks", [("2 weeks", "P14D")]),
        ("a 24-hour notice, then 36 hours", [("24 hours", "P1D"), ("36 hours", "PT36H")]),
        ("kept for six months and erased within a week", [("6 months", "P180D"), ("1 week", "P7D")]),
        ("5 working days", [("5 days", "P5D")]),
        ("today, daily, 0 days, 9000 years", []),
    ],
)
def test_periods(goal: str, periods: list[tuple[str, str]]) -> None:
    assert [(item.text, item.iso) for item in read(goal).periods] == periods


@pytest.mark.parametrize(
    ("goal", "people"),
    [
        ("two other people approve", [2]),
        ("Two-person approval, then three reviewers", [2, 3]),
        ("ask for 3 offers", [3]),
        ("500 members", []),  # a crowd is no number of approvals
    ],
)
def test_numbers_of_people(goal: str, people: list[int]) -> None:
    assert [item.value for item in read(goal).people] == people


def test_roles() -> None:
    assert read("Only data stewards and the treasurer export").roles == (
        ("data steward", "data stewards"),
        ("treasurer", "treasurer"),
    )


@given(st.integers(1, LARGEST), st.sampled_from(["euros", "dollars", "tokens"]))
def test_an_amount_survives_being_written_and_read(value: int, currency: str) -> None:
    (found,) = read(f"Members spend up to {money(value, currency)} alone.").amounts
    assert (found.value, found.currency) == (value, currency)


@given(st.text(max_size=300))
def test_whatever_is_written_is_read_and_within_bounds(text: str) -> None:
    found = read(text)
    assert all(0 < item.value <= LARGEST for item in found.amounts)
    assert all(0 < item.hours <= LONGEST for item in found.periods)
    assert all(0 < item.value <= 20 for item in found.people)

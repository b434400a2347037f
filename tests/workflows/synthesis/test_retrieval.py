"""The nearest policy in force is found and adapted: amounts, periods and examples move together, and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.workflows.enforcement.conftest import GRANT_EXAMPLES, GRANTS
from workflows.kinds import Category
from workflows.policy_creation.synthesis import goals, retrieval
from workflows.policy_creation.synthesis.shapes import Setting, Standing
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import rules
from workflows.policy_enforcement.bundle import EMPTY, Bundle, revision_of
from workflows.policy_enforcement.engines.pool import EnginePool


def standing(
    number: int, title: str, summary: str, text: str = "", rule: RuleDraft | None = None
) -> Standing:
    return Standing(
        ref=f"POL-2026-{number:04}",
        version=2,
        version_sha256=f"{number:064x}",
        title=title,
        summary=summary,
        text=text or f"## Rule\n\n{summary}\n",
        category=Category.FINANCIAL,
        rule=rule,
    )


GRANT = standing(
    1,
    "Small grants decided within two weeks",
    "Requests for up to 2,000 euros are decided by three members drawn by lot, within two weeks.",
    "## Decision\n\nA request of up to 2,000 euros (2000 EUR) is decided within two weeks, or 14 days at most.\n"
    "It was 12,000 euros in 2,000.50 or 42000 cases.\n",
    RuleDraft("rego", GRANTS, GRANT_EXAMPLES),
)
NOTES = standing(
    2, "Meeting notes within three days", "Notes of every meeting are published within three days."
)
ENERGY = standing(3, "Energy use of our servers", "Each quarter we publish how much energy our servers used.")
ALL = [GRANT, NOTES, ENERGY]


class Axes:
    """An embedder with one axis for each of three subjects: enough to show what is done with vectors."""

    name, model_sha256, dimension = "axes", "a" * 64, 3
    calls: int = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        words = (("grant", "fund"), ("meeting", "notes"), ("energy", "power"))
        found = np.array(
            [[sum(text.lower().count(word) for word in of) for of in words] for text in texts],
            dtype=np.float32,
        )
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def test_the_nearest_by_shared_words() -> None:
    (near,) = retrieval.nearest("Grants of up to 3,000 euros are decided by lot", ALL, None)
    assert near.standing is GRANT
    assert "grant" in near.why and "lot" in near.why


@pytest.mark.parametrize("goal", ["", "the", "Bake bread on Sundays", "🦆 within"])
def test_what_shares_no_words_is_not_near(goal: str) -> None:
    assert retrieval.nearest(goal, ALL, None) == []


def test_the_nearest_by_meaning_and_each_text_is_embedded_once() -> None:
    embedder = Axes()
    memory = retrieval.Memory(embedder)
    (near,) = retrieval.nearest("How do we fund projects?", ALL, memory)
    assert near.standing is GRANT and "axes" in near.why
    retrieval.nearest("How do we fund projects?", ALL, memory)
    assert embedder.calls == 1


def test_nothing_in_force_is_near_nothing() -> None:
    assert retrieval.nearest("grants", [], retrieval.Memory(Axes())) == []


def adapted(goal: str, setting: Setting | None = None):
    return retrieval.adapted(retrieval.Near(GRANT, 1.0, "why"), goals.read(goal), setting or Setting())


async def test_amounts_and_periods_move_together(pool: EnginePool) -> None:
    drafted = adapted("Grants of up to 3,000 euros, within three weeks", Setting(taken=("grants",)))
    assert drafted.title == "Small grants decided within 3 weeks"
    assert "up to 3,000 euros (3000 EUR) is decided within 3 weeks" in drafted.text
    assert "It was 12,000 euros in 2,000.50 or 42000 cases." in drafted.text, "other numbers stay"
    assert "amount <= 3000" in drafted.rule.source and "package policies.grants_2" in drafted.rule.source
    amounts = [item["input"]["action"]["amount"] for item in drafted.rule.examples]
    assert amounts == [500, 1500, 3500, 500, 3000], "on the same side of the limit, and one just at it"
    assert [item["input"]["action"]["amount"] for item in GRANT_EXAMPLES] == [500, 1500, 2500, 500]
    assert {(item.what, item.value) for item in drafted.read} == {
        ("Instead of 2,000 euros", "3,000 euros"),
        ("Instead of 2 weeks", "3 weeks"),
    }
    report = await rules.examine(pool, drafted.rule, Bundle(revision_of(EMPTY), EMPTY, {}, {}), [])
    assert [item.got for item in report.examples if not item.passed] == [], report.summary()


def test_where_numbers_do_not_match_one_to_one_nothing_is_guessed() -> None:
    drafted = adapted("Grants of up to 3,000 euros, or 9,000 euros for schools")
    assert (drafted.title, drafted.read) == (GRANT.title, ())
    assert drafted.notes == ("Nothing in it was changed: read it against your goal.",)


def test_it_says_where_it_comes_from() -> None:
    source = adapted("grants").source
    assert (source.kind, source.key, source.version, source.sha256) == (
        "policy", GRANT.ref, 2, GRANT.version_sha256,
    )  # fmt: skip

"""A worker that is killed while it holds a version against the constitution loses no judgement, and makes none twice."""

from __future__ import annotations

import pytest

from tests.reliability.house import House

DRAFT = {
    "title": "Correct the spelling of the kitchen rota",
    "summary": "The rota on the fridge says “Wendesday”.",
    "category": "governance",
}


@pytest.mark.parametrize("point", ["judging", "judged", "keeping"])
def test_a_judgement_is_made_once(house: House, point: str) -> None:
    """`judging`: it was taken; `judged`: what was found is in memory only; `keeping`: inside the transaction."""
    before = house.pid("worker")
    house.order(point, "die")
    draft = {**DRAFT, "text": f"The rota is corrected. The worker dies when it is {point}.\n"}
    workflow = house.done("chidi", "/api/v1/workflows/policy-creation", draft)
    ref = workflow["policy"]["ref"]
    house.until(lambda: house.pid("worker") not in (None, before), "the worker did not die")
    house.jump("PT3M")  # it was the dead worker's for two minutes
    house.complies(ref)
    entered = house.audited(ref)
    assert entered.count("validation.asked") == entered.count("validation.made")
    assert house.value("SELECT count(*) FROM validation v JOIN policy p ON p.id = v.policy_id WHERE p.ref = $1 "
                       "AND v.cause = 'submitted'", ref) == 1  # fmt: skip
    assert house.value("SELECT count(*) FROM validation WHERE made_at IS NULL") == 0


def test_a_batch_survives_the_death_of_its_worker(house: House) -> None:
    """Sixty texts, and two workers killed on the way: each is judged once."""
    items = [
        {"text": f"Rule {number}: notes of meetings are published within {number + 1} days."}
        for number in range(60)
    ]
    before = house.pid("worker")
    house.order("judging", "die")
    batch = house.done("ada", "/api/v1/workflows/constitutional-compliance/batch", {"items": items})
    house.until(lambda: house.pid("worker") not in (None, before), "the worker did not die")
    second = house.pid("worker")
    house.order("judged", "die")
    house.jump("PT3M")
    house.until(lambda: house.pid("worker") not in (None, second), "the second worker did not die")
    house.jump("PT3M")
    made = "SELECT count(*) FROM validation WHERE batch_id = $1::uuid AND made_at IS NOT NULL"
    house.until(lambda: house.value(made, batch["batch_id"]) == 60, "not all are judged", 180)
    entered = house.rows(
        "SELECT convert_from(e.body, 'UTF8')::jsonb #>> '{payload,validation}' AS ref, count(*) AS n FROM audit.entry e "
        "JOIN validation v ON v.ref = convert_from(e.body, 'UTF8')::jsonb #>> '{payload,validation}' "
        "WHERE e.type = 'validation.made' AND v.batch_id = $1::uuid GROUP BY 1",
        batch["batch_id"],
    )
    assert len(entered) == 60
    assert {row["n"] for row in entered} == {1}

"""The gate with the judge that the portal ships: an ordinary policy passes it, one that breaks the constitution does not."""

from __future__ import annotations

from typing import Any

from workflows.constitutional_compliance import gate, queries, reassessment, validations
from workflows.constitutional_compliance.analysis import LocalJudge

SUMMARY = "Ballots close early."
BREACH = """## Rule

The ballot closes as soon as ten members have voted in favour, without waiting for the seven days.

The chair sees the running count at any time and may publish it while members still vote.
"""


async def test_an_ordinary_policy_comes_to_its_ballot(assembly: Any) -> None:
    a, judge = assembly, LocalJudge()
    ref = await a.create()
    await validations.assess_waiting(a.units, judge, a.constitution)
    standing = await gate.standing(a.connection, ref, a.constitution.sha256)
    assert standing.state == "compliant", standing
    await a.approve(ref, judged=False)
    assert await a.state(ref) == "voting"
    assert await reassessment.look(a.units, judge, a.constitution) == 0, (
        "what it says it rests on is what it rests on"
    )


async def test_a_breach_does_not(assembly: Any) -> None:
    a, judge = assembly, LocalJudge()
    ref = await a.create(title="Quick ballots", summary=SUMMARY, text=BREACH)
    await validations.assess_waiting(a.units, judge, a.constitution)
    found = await queries.for_policy(
        a.connection, ref, figures=a.figures, sha256=a.constitution.sha256, now=a.now
    )
    assert not found.standing.may_open
    assert found.standing.state in ("non_compliant", "asked")
    principles = {each.principle for each in found.newest.result.findings}
    assert principles & {"fair_ballot", "secret_ballot"}
    read = {"summary": SUMMARY, "text": BREACH}
    spans = [each.span for each in found.newest.result.findings if each.span]
    assert {span.of for span in spans} == {"summary", "text"}
    for span in spans:
        assert read[span.of][span.start : span.end] == span.quote

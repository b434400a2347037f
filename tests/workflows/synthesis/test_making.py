"""No candidate is shown that did not stand: rules run by the real engines, language models answer over real HTTP."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from portal.language_models import ChatCompletions
from tests.chat_completions import Answer, Server, answering
from tests.workflows.enforcement.conftest import Enforcing, rego
from tests.workflows.synthesis.judges import Saying
from tests.workflows.synthesis.test_writing import ANSWER, RULE
from workflows.constitution.document import Constitution
from workflows.errors import Invalid, Unavailable
from workflows.kinds import Compliance, RuleEngine
from workflows.policy_creation.synthesis import making
from workflows.policy_creation.synthesis.drafting import LocalSynthesiser
from workflows.policy_creation.synthesis.making import Parts, synthesise
from workflows.policy_creation.synthesis.shapes import Synthesis, Wish

NAP = Wish(goal="Let people nap for up to twenty minutes")
SPEND = Wish(goal="A member may spend up to 3,000 euros alone", principles=("openness",))
BROKEN = {**ANSWER, "rule": {**RULE, "source": "package policies.naps\nallow if"}}
WRONG = {**ANSWER, "rule": {**RULE, "examples": [{**RULE["examples"][0], "expect": "deny"}]}}


class Making:
    """Synthesis with what a test gives it."""

    def __init__(self, enforcing: Enforcing, constitution: Constitution, stack: AsyncExitStack) -> None:
        self.enforcing, self.constitution, self.stack = enforcing, constitution, stack

    async def __call__(self, wish: Wish, *servers: Server, judge: Any = None) -> Synthesis:
        models = [ChatCompletions(f"m{n}", server.url, "test") for n, server in enumerate(servers, 1)]
        for model in models:
            self.stack.push_async_callback(model.close)
        synthesiser = LocalSynthesiser(models, None)
        parts = Parts(synthesiser, self.enforcing.rulebook, judge or Saying(), self.constitution)
        return await synthesise(wish, parts)


@pytest.fixture
async def make(enforcing: Enforcing, constitution: Constitution):
    async with AsyncExitStack() as stack:
        yield Making(enforcing, constitution, stack)


async def test_a_template_becomes_a_candidate_that_was_validated(make: Making) -> None:
    judge = Saying()
    found = await make(SPEND, judge=judge)
    (candidate,) = found.candidates
    drafted, validation = candidate.drafted, candidate.validation
    assert (drafted.source.kind, drafted.source.key) == ("template", "spending_limit")
    assert "3,000 euros" in drafted.title
    assert "(§ 2.2, § 9.2)" in drafted.text, "the chosen principle has its clause"
    assert (validation.rule, validation.compliance, validation.mended) == ("passed", "compliant", 0)
    assert validation.examples == len(drafted.rule.examples) == 4
    assert judge.asked[0].rule_source == drafted.rule.source, "the judge saw the rule too"
    used = {item.kind: item.used for item in found.means}
    assert used == {"template": True, "policy": False, "language_model": False}
    assert "No language model is set up" in found.means[2].says


async def test_a_policy_in_force_is_adapted_and_its_rule_left_out_where_it_cannot_stand_beside_it(
    make: Making, enforcing: Enforcing
) -> None:
    ref = await enforcing.enact(
        rego(), title="Small grants", summary="Requests for grants of up to 2,000 euros are decided by lot."
    )
    judge = Saying()
    wish = Wish(goal="Requests for small grants of up to 5,000 euros are decided by lot")
    found = await make(wish, judge=judge)
    (candidate,) = [item for item in found.candidates if item.drafted.source.kind == "policy"]
    drafted = candidate.drafted
    assert (drafted.source.key, drafted.source.version) == (ref, 1)
    assert "5,000 euros" in drafted.summary
    assert drafted.rule is None and ref in drafted.notes[0]
    assert [item.ref for item in judge.enacted] == [ref], "it was held against what is in force"


async def test_a_rule_that_reads_data_nobody_entered_says_so(make: Making) -> None:
    found = await make(Wish(goal="Only data stewards export personal data"))
    assert any("“roles”" in note for note in found.candidates[0].drafted.notes)


async def test_a_language_model_writes_where_no_template_fits(make: Making) -> None:
    with answering(json.dumps(ANSWER)) as server:
        found = await make(NAP, server)
    (candidate,) = found.candidates
    assert candidate.drafted.source.kind == "language_model"
    assert candidate.validation.examples == 2
    assert "m1 (test)" in found.means[2].says


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (BROKEN, "Line 2"),
        (WRONG, "Example 1 should give deny and gives allow"),
        ({**ANSWER, "text": "It takes the votes of some."}, "It says votes."),
        ("I would rather not.", "not the JSON object"),
    ],
)
async def test_what_fails_is_mended_with_what_is_wrong(make: Making, first: Any, told: str) -> None:
    answer = first if isinstance(first, str) else json.dumps(first)
    with answering(answer, json.dumps(ANSWER)) as server:
        found = await make(NAP, server, judge=Saying(votes=Compliance.NON_COMPLIANT))
    (candidate,) = found.candidates
    assert candidate.validation.mended == 1
    assert told in json.loads(server.asked[1]["messages"][1]["content"])["what_is_wrong_with_it"][0]


async def test_after_two_mends_it_is_left_out_and_it_is_said_why(make: Making) -> None:
    with answering(json.dumps(BROKEN)) as server:
        found = await make(NAP, server)
    assert found.candidates == [] and len(server.asked) == 1 + making.MENDS
    (left,) = found.left
    assert left.kind == "language_model" and left.why.startswith("After being told twice")


async def test_nothing_is_mended_after_the_time_is_over(
    make: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "LONGEST", 0.0)
    with answering(json.dumps(BROKEN)) as server:
        found = await make(NAP, server)
    assert len(server.asked) == 1 and len(found.left) == 1


async def test_a_model_that_is_away_is_left_out_and_the_others_go_on(make: Making) -> None:
    with answering(Answer(status=500)) as away, answering(json.dumps(ANSWER)) as there:
        found = await make(SPEND, away, there)
    assert {item.drafted.source.kind for item in found.candidates} == {"template", "language_model"}
    (left,) = found.left
    assert left.key == "m1" and "answered 500" in left.why


async def test_what_two_models_write_alike_is_shown_once(make: Making) -> None:
    with answering(json.dumps(ANSWER)) as one, answering(json.dumps(ANSWER)) as two:
        found = await make(NAP, one, two)
    assert len(found.candidates) == 1


async def test_hostile_answers_do_nothing(make: Making, enforcing: Enforcing) -> None:
    source = (
        RULE["source"]
        + '\nallow if http.send({"method": "get", "url": "http://127.0.0.1:1"}).status_code == 200\n'
    )
    hostile = {**ANSWER, "rule": {**RULE, "source": source}}
    script = {**ANSWER, "text": "## Rule\n\n<script>alert(1)</script> [x](javascript:alert(1))\n"}
    with answering(json.dumps(hostile)) as one, answering(json.dumps(script)) as two:
        found = await make(NAP, one, two)
    assert [item.drafted.source.key for item in found.candidates] == ["m2"]
    assert "http.send" in found.left[0].why


async def test_a_text_that_does_not_comply_is_left_out(make: Making) -> None:
    found = await make(SPEND, judge=Saying(member=Compliance.NON_COMPLIANT))
    assert found.candidates == []
    assert found.left[0].why == "It says member."


async def test_a_text_that_people_would_have_to_look_at_says_so_and_comes_last(make: Making) -> None:
    wish = Wish(goal="A member may spend up to 3,000 euros alone; above that two people approve payments")
    found = await make(wish, judge=Saying(receipt=Compliance.REQUIRES_REVIEW))
    verdicts = [item.validation.compliance for item in found.candidates]
    assert verdicts == ["compliant", "requires_review"]
    assert found.candidates[-1].validation.why == ["It says receipt."]


async def test_without_a_judge_nothing_is_shown(make: Making) -> None:
    with pytest.raises(Unavailable, match="AC service"):
        await make(SPEND, judge=Saying(away=True))


async def test_a_wish_that_cannot_be_read_names_every_fault(make: Making) -> None:
    with pytest.raises(Invalid) as caught:
        await make(Wish(goal=" ", principles=("openness", "luck")))
    assert [item.pointer for item in caught.value.errors] == ["/goal", "/principles/1"]
    with pytest.raises(Invalid, match="cannot be read"):
        await make(Wish(goal="a" * 2_001))


async def test_the_wished_language_is_kept_to(make: Making) -> None:
    found = await make(Wish(goal=SPEND.goal, engine=RuleEngine.DATALOG))
    assert {item.drafted.rule.engine for item in found.candidates} == {"datalog"}

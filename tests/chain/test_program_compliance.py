"""check_compliance agrees, action by action, with the rules of its page written once more in Python."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.chain.program_harness import Quantumagi, assert_fails, error_number

COMPLIANCE_FAILED = 6001
CATEGORIES = ["PromptConstitution", "Safety", "Governance", "Financial"]
FORBIDDEN = {"PromptConstitution": ("unauthorized", "bypass"), "Safety": ("unsafe", "exploit")}


def complies(category: str, rule: str, action: str, context: dict) -> bool:
    """The page's rules, over bytes where it speaks of bytes."""
    if any(word in action for word in FORBIDDEN.get(category, ())):
        return False
    if category == "Governance" and context["requires_governance"] and not context["has_governance_approval"]:
        return False
    if (
        category == "Financial"
        and context["involves_funds"]
        and context["amount"] > context["authorized_limit"]
    ):
        return False
    if rule == action:
        return True
    start, rest = rule.encode()[:6], rule.encode()[6:]
    if "ALLOW" not in rule or len(start) < 6 or not is_text(rest):
        return False
    return rest in action.encode()


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.fixture(scope="module")
def chain() -> Iterator[Quantumagi]:
    chain = Quantumagi()
    chain.succeed(chain.initialize())
    yield chain


def enacted(chain: Quantumagi, rule: str, category: str) -> int:
    """The id of a new active policy."""
    chain.ids = getattr(chain, "ids", 100) + 1
    chain.succeed(chain.propose(chain.ids, rule, category), chain.enact(chain.ids))
    return chain.ids


PLAIN = {
    "requires_governance": False,
    "has_governance_approval": False,
    "involves_funds": False,
    "amount": 0,
    "authorized_limit": 0,
}


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize(
    ("rule", "action", "passes"),
    [
        ("walk", "walk", True),  # the rule spells out the action
        ("walk", "walk ", False),
        ("", "", True),
        ("", "walk", False),
        ("ALLOW walk", "walk", True),
        ("ALLOW walk", "please walk on", True),
        ("ALLOW walk", "Walk", False),
        ("ALLOW walk", "wal", False),
        ("ALLOW walk", "", False),
        ("ALLOW walk", "ALLOW walk", True),
        ("DENY walk", "walk", False),
        ("allow walk", "walk", False),
        ("ALLOW ", "anything at all", True),  # an empty part is in every action
        ("ALLOWx", "anything at all", True),
        ("ALLOW", "anything at all", False),  # no seventh byte, nor a sixth
        ("ALLOW", "ALLOW", True),
        ("ABCDEFALLOW", "ALLOW", True),  # ALLOW may stand anywhere, the part starts at the seventh byte
        ("walk ALLOW", "walk ALLOW", True),
        ("walk ALLOW", "LLOW", True),
        ("walk ALLOW", "LOW", False),
        ("walk ALLOW", "ALLOW", True),
        ("ALLOW é", "café", True),
        ("ALLOWé", "anything", False),  # the seventh byte is amid a character
        ("ALLOWé", "ALLOWé", True),
        ("ALLOW 🜁🜂", "x🜁🜂x", True),
        ("ALLOW 🜁🜂", "x🜁🜃x", False),
        ("ALLOW a\0b", "xa\0bx", True),
        ("ALLOW " + "ab" * 400, "ab" * 399 + "a", False),
        ("ALLOW " + "ab" * 400, "b" + "ab" * 400, True),
    ],
)
def test_the_rule(chain, category, rule, action, passes):
    policy_id = enacted(chain, rule, category)
    number = error_number(chain.simulate(chain.check(action, policy_id)))
    assert number == (None if passes else COMPLIANCE_FAILED)
    assert complies(category, rule, action, PLAIN) == passes


@pytest.mark.parametrize(
    ("category", "word"),
    [(category, word) for category, words in FORBIDDEN.items() for word in words],
)
def test_words_that_only_their_category_forbids(chain, category, word):
    action = f"do it {word}ly"
    for each in CATEGORIES:
        policy_id = enacted(chain, action, each)
        outcome = chain.simulate(chain.check(action, policy_id))
        if each == category:
            assert_fails(outcome, COMPLIANCE_FAILED)
        else:
            assert error_number(outcome) is None
        near_miss = action.replace(word, word[:-1])
        assert error_number(chain.simulate(chain.check(near_miss, enacted(chain, near_miss, each)))) is None


@pytest.mark.parametrize("requires", [False, True])
@pytest.mark.parametrize("approved", [False, True])
def test_governance_asks_for_the_approval_it_requires(chain, requires, approved):
    policy_id = enacted(chain, "ALLOW walk", "Governance")
    check = chain.check("walk", policy_id, requires_governance=requires, has_governance_approval=approved)
    assert (error_number(chain.simulate(check)) is None) == (approved or not requires)


@pytest.mark.parametrize(
    ("amount", "limit"),
    [(0, 0), (1, 0), (5, 5), (6, 5), (2**63, 2**63 - 1), (2**64 - 1, 2**64 - 1), (0, 2**64 - 1)],
)
@pytest.mark.parametrize("involved", [False, True])
def test_funds_stay_within_the_limit(chain, amount, limit, involved):
    policy_id = enacted(chain, "ALLOW pay", "Financial")
    check = chain.check("pay", policy_id, involves_funds=involved, amount=amount, authorized_limit=limit)
    assert (error_number(chain.simulate(check)) is None) == (not involved or amount <= limit)


def test_a_check_writes_nothing(chain):
    policy_id = enacted(chain, "ALLOW walk", "Safety")
    before = chain.data(chain.policy(policy_id))
    chain.succeed(chain.check("walk", policy_id))
    assert chain.data(chain.policy(policy_id)) == before


def test_the_audit_checkpoints_call(chain):
    """The record every checkpoint is anchored on."""
    policy_id = enacted(chain, "ALLOW audit-checkpoint", "Governance")
    action = f"audit-checkpoint example.org/log 12345 {'ab' * 32} constitution {'cd' * 32}"
    chain.succeed(chain.check(action, policy_id))
    chain.succeed(chain.deactivate(policy_id))
    assert_fails(chain.send(chain.check(action, policy_id)), 6002)


def test_the_dearest_search_fits_a_transactions_budget(chain):
    """A thousand near misses: 200,000 compute units are what a transaction has by default."""
    policy_id = enacted(chain, "ALLOW " + "a" * 499 + "b", "PromptConstitution")
    outcome = chain.simulate(chain.check("a" * 1000, policy_id))
    assert_fails(outcome, COMPLIANCE_FAILED)
    print(outcome.meta().compute_units_consumed())
    assert outcome.meta().compute_units_consumed() < 100_000


WORDS = st.sampled_from(
    [
        "unauthorized",
        "bypass",
        "unsafe",
        "exploit",
        "ALLOW",
        "ALLOW ",
        "allow",
        "walk",
        "é",
        "🜁",
        "\0",
        " ",
        "un",
        "by",
    ]
)
TEXT = st.lists(WORDS | st.text(max_size=4), max_size=6).map("".join)
AMOUNT = st.integers(0, 2**64 - 1) | st.integers(0, 3)
CONTEXT = st.fixed_dictionaries(
    {
        "requires_governance": st.booleans(),
        "has_governance_approval": st.booleans(),
        "involves_funds": st.booleans(),
        "amount": AMOUNT,
        "authorized_limit": AMOUNT,
    }
)


@st.composite
def rules_and_actions(draw: st.DrawFn) -> tuple[str, str]:
    """Pairs that meet: independent ones nearly always fail."""
    rule, action = draw(TEXT), draw(TEXT)
    part = draw(TEXT)
    return draw(
        st.sampled_from(
            [
                (rule, action),
                (rule, rule),
                (f"ALLOW {part}", action + part + rule),
                (f"ALLOW{part}", part + action),
            ]
        )
    )


@settings(max_examples=400, deadline=None)
@given(category=st.sampled_from(CATEGORIES), pair=rules_and_actions(), context=CONTEXT)
@example(category="Safety", pair=("ALLOWé", "é"), context=PLAIN)
@example(category="Safety", pair=("ALLOW", ""), context=PLAIN)
def test_the_program_and_the_model_agree(chain, category, pair, context):
    rule, action = pair
    policy_id = enacted(chain, rule, category)
    number = error_number(chain.simulate(chain.check(action, policy_id, **context)))
    assert number == (None if complies(category, rule, action, context) else COMPLIANCE_FAILED)

"""Words with a meaning of their own in a Datalog rule; none of them can be the name of a data document."""

INPUT = "input"
ANSWERS = {"allow": 0, "deny": 1, "oblige": 3}
ABOUT = {"name": 1, "actions": 1, "reason": 3}  # what a rule says of itself: written-out facts
RESERVED = frozenset({INPUT, "not", *ANSWERS, *ABOUT})

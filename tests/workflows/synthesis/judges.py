"""A judge that says what a test has it say of texts with certain words, for what follows from verdicts; in tests only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance.analysis import Enacted, Problem
from workflows.constitutional_compliance.consensus import agree
from workflows.constitutional_compliance.findings import Analyser, Recommendation, Result, Subject
from workflows.errors import Unavailable
from workflows.kinds import Compliance, ConsensusStrategy, Strategy


class Saying:
    """Compliant, unless a text holds one of `verdicts`' words. `asked` holds what came."""

    def __init__(self, away: bool = False, **verdicts: Compliance) -> None:
        self.verdicts, self.away = verdicts, away
        self.asked: list[Subject] = []
        self.enacted: list[Enacted] = []

    async def judge(
        self,
        constitution: Constitution,
        subjects: Sequence[Subject],
        *,
        enacted: Sequence[Enacted] = (),
        level: Strategy = Strategy.STANDARD,
    ) -> list[Result | Problem]:
        if self.away:
            raise Unavailable("The AC service does not answer.")
        self.asked += subjects
        self.enacted = list(enacted)
        return [self._said(constitution, subject) for subject in subjects]

    def _said(self, constitution: Constitution, subject: Subject) -> Result | Problem:
        if "unreadable" in subject.text:
            return Problem("illegible", "It is in no language.")
        word = next((word for word in self.verdicts if word in subject.text), "")
        verdict = self.verdicts.get(word, Compliance.COMPLIANT)
        analysers: tuple[Any, ...] = (
            Analyser("structural", "rules", "test", True, score=1.0, confidence=1.0),
        )
        return Result(
            verdict=verdict,
            score=1.0,
            confidence=1.0,
            findings=(),
            analysers=analysers,
            consensus=agree(ConsensusStrategy.WEIGHTED_AVERAGE, analysers),
            recommendation=Recommendation("proceed", ""),
            why=(f"It says {word or 'nothing wrong'}.",),
            constitution_sha256=constitution.sha256,
            basis_sha256="b" * 64,
            passages=1,
        )

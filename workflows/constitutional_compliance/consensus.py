"""Several analysers, one score: the five strategies of the mission, with weights, agreement and dissent shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from workflows.constitutional_compliance.findings import Analyser, Consensus, Vote
from workflows.kinds import ConsensusStrategy

# mission.md, “Consensus strategies”.
AGREEMENT_NEEDED = 0.8
CONFIDENCE_NEEDED = 0.7
SCORE_NEEDED = 0.8
MODELS_NEEDED = 2
FAR = 0.25  # from the consensus: a dissent
PREFERRED = 4.0  # how many times the weight of others the preferred kind has


def agree(strategy: ConsensusStrategy, analysers: Sequence[Analyser]) -> Consensus:
    """The consensus of those that are present and gave a score. With none of them there is none, and people decide."""
    present = [
        item for item in analysers if item.present and item.score is not None and item.confidence is not None
    ]
    if not present:
        return Consensus(strategy, None, None, None, (), (), ("No analyser answered.",))
    scores = [item.score or 0.0 for item in present]
    weights = _weights(strategy, present)
    score = (
        _majority(scores, weights) if strategy == ConsensusStrategy.MAJORITY_VOTE else _mean(scores, weights)
    )
    confidence = _mean([item.confidence or 0.0 for item in present], weights)
    agreement = max(0.0, 1 - 2 * _deviation(scores))
    votes = tuple(
        Vote(item.name, own, item.confidence or 0.0, weight, own - score)
        for item, own, weight in zip(present, scores, weights, strict=True)
    )
    return Consensus(
        strategy=strategy,
        score=score,
        confidence=confidence,
        agreement=agreement,
        votes=votes,
        dissent=tuple(vote.analyser for vote in votes if abs(vote.distance) > FAR),
        people=tuple(_why_people(score, confidence, agreement, len(present))),
    )


def _weights(strategy: ConsensusStrategy, present: Sequence[Analyser]) -> list[float]:
    """Sum to 1. Where all would be nought (nobody is confident, say), all weigh the same."""
    raw = [_weight(strategy, item) for item in present]
    total = sum(raw)
    return [weight / total for weight in raw] if total > 0 else [1 / len(raw)] * len(raw)


def _weight(strategy: ConsensusStrategy, item: Analyser) -> float:
    match strategy:
        case ConsensusStrategy.WEIGHTED_AVERAGE:
            return item.weight
        case ConsensusStrategy.CONFIDENCE_BASED:
            return item.confidence or 0.0
        case ConsensusStrategy.EMBEDDING_PRIORITY:
            return PREFERRED if item.kind in ("embedding", "head") else 1.0
        case ConsensusStrategy.LLM_PRIORITY:
            return PREFERRED if item.kind == "llm" else 1.0
        case ConsensusStrategy.MAJORITY_VOTE:
            return 1.0


def _majority(scores: Sequence[float], weights: Sequence[float]) -> float:
    """The share of analysers that say it complies. A tie is a half, which passes nothing."""
    return sum(weight for score, weight in zip(scores, weights, strict=True) if score >= SCORE_NEEDED)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True))


def _deviation(values: Sequence[float]) -> float:
    """Of the population, not of a sample: these are all the scores there are."""
    middle = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / len(values))


def below(value: float, needed: float) -> str:
    """`0.76, below 0.80`, in as many digits as it takes to see that it is."""
    digits = next((digits for digits in (2, 3, 4) if round(value, digits) < needed), 6)
    return f"{value:.{digits}f}, below {needed:.2f}"


def _why_people(score: float, confidence: float, agreement: float, models: int) -> list[str]:
    """Why people have to decide, with the number that says so and the one it would have to reach."""
    reasons = []
    if models < MODELS_NEEDED:
        reasons.append(f"Only {models} analyser answered; {MODELS_NEEDED} are needed.")
    if score < SCORE_NEEDED:
        reasons.append(f"The score is {below(score, SCORE_NEEDED)}.")
    if confidence < CONFIDENCE_NEEDED:
        reasons.append(f"The confidence is {below(confidence, CONFIDENCE_NEEDED)}.")
    if agreement < AGREEMENT_NEEDED:
        reasons.append(f"The analysers agree by {below(agreement, AGREEMENT_NEEDED)}.")
    return reasons

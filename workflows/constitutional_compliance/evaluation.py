"""How good heads are: figures with 95 % intervals, from counts that are summed over documents.

Every figure is a function of such sums, so that an interval is had by drawing documents anew: clauses of one document
are alike, and drawing clauses would pretend to know more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from workflows.constitutional_compliance.calibration import Booleans, Calibration, Floats

DRAWS = 1_000
BINS = 10
COVERAGES = tuple(step / 20 for step in range(1, 21))


class Figure(msgspec.Struct, frozen=True):
    """A measured share with its 95 % interval; all in per cent."""

    value: float
    low: float
    high: float


class Point(msgspec.Struct, frozen=True):
    """`accuracy` of the share of clauses that heads are surest of, with its 95 % interval."""

    share: float
    accuracy: float
    low: float
    high: float


class PrincipleReport(msgspec.Struct, frozen=True):
    principle: str
    violations: int
    f1: float
    recall: float
    precision: float
    accuracy: float


class Report(msgspec.Struct, frozen=True):
    """`f1_*` count “none” as a class, as LexGLUE does. A decision is one principle of one clause."""

    clauses: int
    documents: int
    violations: int
    accuracy: Figure  # clauses of which all principles are right
    f1_micro: Figure
    f1_macro: Figure
    recall: Figure  # of violations, when machines decide all
    precision: Figure
    calibration_error: Figure
    decided: Figure  # decisions that machines make alone
    decided_accuracy: Figure
    clauses_decided: Figure  # clauses that machines clear as a whole, or of which they decide all principles
    clauses_decided_accuracy: Figure
    caught: Figure  # violations that machines call so
    caught_or_escalated: Figure  # clauses that break something and are not wholly cleared
    risk_coverage: list[Point]
    principles: list[PrincipleReport]


def evaluate(
    principles: Sequence[str],
    probabilities: Floats,
    breaks: Booleans,
    documents: Sequence[str],
    calibrations: Sequence[Calibration],
) -> Report:
    """One row a clause, one column a principle, in the order of `principles` and `calibrations`."""
    names, place = np.unique(documents, return_inverse=True)
    counts = _counts(probabilities, breaks, calibrations)
    sums = {name: _by_document(column, place, len(names)) for name, column in counts.items()}
    drawn = np.random.default_rng(0).multinomial(len(names), [1 / len(names)] * len(names), DRAWS)
    total = {name: column.sum(axis=0) for name, column in sums.items()}

    def figure(share: Callable[[dict[str, Floats]], Floats]) -> Figure:
        draws = share({name: np.tensordot(drawn, column, 1) for name, column in sums.items()})
        low, high = np.nanpercentile(draws, [2.5, 97.5]) if np.isfinite(draws).any() else (np.nan, np.nan)
        return Figure(*(_percent(value) for value in (share(total), low, high)))

    return Report(
        clauses=len(breaks),
        documents=len(names),
        violations=int(breaks.sum()),
        accuracy=figure(_ratio("exact", "clauses")),
        f1_micro=figure(lambda c: _f1(c["hit"].sum(-1), c["false"].sum(-1), c["missed"].sum(-1))),
        f1_macro=figure(lambda c: _f1(c["hit"], c["false"], c["missed"]).mean(-1)),
        recall=figure(lambda c: _share(_of_principles(c["hit"]), _of_principles(c["hit"] + c["missed"]))),
        precision=figure(lambda c: _share(_of_principles(c["hit"]), _of_principles(c["hit"] + c["false"]))),
        calibration_error=figure(_calibration_error),
        decided=figure(_ratio("decided", "decisions")),
        decided_accuracy=figure(_ratio("decided_right", "decided")),
        clauses_decided=figure(_ratio("clause_decided", "clauses")),
        clauses_decided_accuracy=figure(_ratio("clause_decided_right", "clause_decided")),
        caught=figure(_ratio("caught", "violations")),
        caught_or_escalated=figure(_ratio("not_cleared", "broken")),
        risk_coverage=_risk_coverage(probabilities, breaks, calibrations, drawn[:, place]),
        principles=_by_principle(principles, total, breaks),
    )


def _counts(
    probabilities: Floats, breaks: Booleans, calibrations: Sequence[Calibration]
) -> dict[str, npt.NDArray[np.float64]]:
    likelier, below, clear, above = (
        np.array([getattr(one, name) for one in calibrations])
        for name in ("likelier", "below", "clear", "above")
    )
    decides = np.array([one.decides for one in calibrations])
    said, true = _with_none(probabilities >= likelier), _with_none(breaks)
    called, cleared = (probabilities >= above) & decides, (probabilities <= below) & decides
    decided, right = called | cleared, np.where(breaks, called, cleared)
    cleared_whole = ((probabilities <= clear) & decides).all(axis=1)
    whole = cleared_whole | decided.all(axis=1)
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    inside = bins[:, :, None] == np.arange(BINS)
    columns = {
        "clauses": np.ones(len(breaks)),
        "exact": (said == true).all(axis=1),
        "hit": said & true,
        "false": said & ~true,
        "missed": ~said & true,
        "decisions": np.full(len(breaks), breaks.shape[1]),
        "decided": decided.sum(axis=1),
        "decided_right": right.sum(axis=1),
        "clause_decided": whole,
        "clause_decided_right": np.where(cleared_whole, ~breaks.any(axis=1), whole & right.all(axis=1)),
        "violations": breaks.sum(axis=1),
        "caught": (called & breaks).sum(axis=1),
        "broken": breaks.any(axis=1),
        "not_cleared": breaks.any(axis=1) & ~cleared_whole,
        "bin_size": inside.sum(axis=1),
        "bin_expected": (inside * probabilities[:, :, None]).sum(axis=1),
        "bin_found": (inside & breaks[:, :, None]).sum(axis=1),
    }
    return {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}


def _with_none(labels: Booleans) -> Booleans:
    return np.column_stack([labels, ~labels.any(axis=1)])


def _by_document(column: Floats, place: npt.NDArray[np.int64], count: int) -> Floats:
    sums = np.zeros((count, *column.shape[1:]))
    np.add.at(sums, place, column)
    return sums


def _ratio(part: str, whole: str) -> Callable[[dict[str, Floats]], Floats]:
    return lambda counts: _share(counts[part], counts[whole])


def _share(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.divide(part, whole)


def _f1(hit: Floats, false: Floats, missed: Floats) -> Floats:
    """Nought where a class neither occurs nor is said."""
    return np.nan_to_num(_share(2 * hit, 2 * hit + false + missed))


def _of_principles(counts: Floats) -> Floats:
    return counts[..., :-1].sum(-1)


def _calibration_error(counts: dict[str, Floats]) -> Floats:
    gaps = np.abs(counts["bin_expected"] - counts["bin_found"]).sum(-1)
    return _share(gaps, counts["bin_size"].sum(-1))


def _risk_coverage(
    probabilities: Floats, breaks: Booleans, calibrations: Sequence[Calibration], drawn: npt.NDArray[np.int64]
) -> list[Point]:
    """A clause is as sure as the least sure of its decisions: how far it is from the cut, in log odds.

    `drawn`: one row a draw, how often each clause is in it.
    """
    likelier = np.clip([one.likelier for one in calibrations], 1e-9, 1 - 1e-9)
    odds = np.log(np.clip(probabilities, 1e-9, 1 - 1e-9) / (1 - np.clip(probabilities, 1e-9, 1 - 1e-9)))
    surest = np.argsort(-np.abs(odds - np.log(likelier / (1 - likelier))).min(axis=1), kind="stable")
    right = ((probabilities >= likelier) == breaks).all(axis=1)[surest]
    drawn = drawn[:, surest]
    so_far, right_so_far = drawn.cumsum(axis=1), (drawn * right).cumsum(axis=1)
    every = np.arange(len(drawn))
    points = []
    for share in COVERAGES:
        accuracy = right[: max(1, round(share * len(right)))].mean()
        # Of a draw the share is of the clauses that are in it.
        last = (so_far >= share * so_far[:, -1:]).argmax(axis=1)
        low, high = np.percentile(right_so_far[every, last] / so_far[every, last], [2.5, 97.5])
        points.append(Point(share, _percent(accuracy), _percent(low), _percent(high)))
    return points


def _by_principle(
    principles: Sequence[str], total: dict[str, Floats], breaks: Booleans
) -> list[PrincipleReport]:
    reports = []
    for column, principle in enumerate(principles):
        hit, false, missed = (total[name][column] for name in ("hit", "false", "missed"))
        reports.append(
            PrincipleReport(
                principle=principle,
                violations=int(breaks[:, column].sum()),
                f1=_percent(_f1(hit, false, missed)),
                recall=_percent(_share(hit, hit + missed)),
                precision=_percent(_share(hit, hit + false)),
                accuracy=_percent(1 - (false + missed) / len(breaks)),
            )
        )
    return reports


def _percent(value: float | Floats) -> float:
    """JSON has no “not a number”: what cannot be said (a share of nothing) is nought."""
    return round(100 * float(value), 2) if np.isfinite(value) else 0.0

"""The figures of the constitution, read from its annex and held against the programme's floors.

The document is the configuration (§ 10.2): what a ballot asks for stands in the very bytes whose hash is on chain.
"""

from __future__ import annotations

import itertools
import re

import msgspec

from workflows.kinds import BallotMode, Ladder, Strategy


class Figure(msgspec.Struct, frozen=True):
    value: int
    article: str


class Mode(msgspec.Struct, frozen=True):
    """What is published of a vote at the close."""

    value: BallotMode
    article: str


class Rung(msgspec.Struct, frozen=True):
    """How far up the ladder machines go by themselves."""

    value: Ladder
    article: str


class Tier(msgspec.Struct, frozen=True):
    """What one tier asks for. `approvals` by reviewers, of which `legal`; besides them `council`."""

    approvals: int
    legal: int
    council: int
    comment_days: int
    threshold_percent: int
    article: str


class Figures(msgspec.Struct, frozen=True):
    voting_days: Figure
    emergency_voting_days: Figure
    quorum_percent: Figure
    veto_override_percent: Figure
    appeal_hours: Figure
    appeal_decision_working_days: Figure
    tiers: dict[str, Tier]
    # Where the annex says nothing of them:
    ballot_mode: Mode = Mode(BallotMode.SEALED, "programme")
    restriction_hours: Figure = Figure(24, "programme")
    block_hours: Figure = Figure(168, "programme")
    lockdown_hours: Figure = Figure(24, "programme")
    automatic_remediation: Rung = Rung(Ladder.LOG_WARNING, "programme")
    compliance_decision_days: Figure = Figure(3, "programme")
    compliance_override_percent: Figure = Figure(67, "programme")

    def tier(self, strategy: Strategy) -> Tier:
        return self.tiers[strategy]


class AnnexError(ValueError):
    """The document carries no readable annex, or a figure laxer than the programme's floor."""


# The programme's constitution (mission.md): a tier may be stricter, never laxer.
FLOORS = {
    "voting_days": 7,
    "emergency_voting_days": 3,
    "quorum_percent": 10,
    "veto_override_percent": 67,
    "appeal_hours": 48,
    "compliance_override_percent": 67,
}
PROGRAMME = Figures(
    voting_days=Figure(7, "programme"),
    emergency_voting_days=Figure(3, "programme"),
    quorum_percent=Figure(10, "programme"),
    veto_override_percent=Figure(67, "programme"),
    appeal_hours=Figure(48, "programme"),
    appeal_decision_working_days=Figure(5, "programme"),
    tiers={
        "standard": Tier(1, 0, 0, 0, 50, "programme"),
        "enhanced_validation": Tier(2, 0, 0, 1, 55, "programme"),
        "multi_model_consensus": Tier(2, 1, 0, 3, 60, "programme"),
        "human_review": Tier(2, 1, 1, 7, 67, "programme"),
    },
)


def _table(document: str, first_heading: str) -> list[dict[str, str]]:
    """Rows of the Markdown table after the annex heading whose first column is `first_heading`."""
    _, _, annex = document.partition("\n## Annex: figures")
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in annex.splitlines()
        if line.strip().startswith("|")
    ]
    start = next((i for i, row in enumerate(rows) if row[0] == first_heading), None)
    if start is None:
        raise AnnexError(f"The document has no annex table headed “{first_heading}”.")
    head, found = rows[start], []
    for row in rows[start + 2 :]:
        if len(row) != len(head) or re.fullmatch(r"[a-z_]+", row[0]) is None or row[0] in ("figure", "tier"):
            break
        found.append(dict(zip(head, row, strict=True)))
    return found


def read_figures(document: str) -> Figures:
    """The figures in a document's annex. Raises AnnexError with what is missing, unreadable or too lax."""
    try:
        singles = {
            row["figure"]: _single(row["figure"], row["value"], row["article"])
            for row in _table(document, "figure")
        }
        tiers = {
            row["tier"]: Tier(
                *(
                    int(row[key])
                    for key in ("approvals", "legal", "council", "comment_days", "threshold_percent")
                ),
                article=row["article"],
            )
            for row in _table(document, "tier")
        }
        figures = msgspec.convert({**singles, "tiers": tiers}, Figures, from_attributes=True)
    except (KeyError, ValueError, msgspec.ValidationError) as error:
        raise AnnexError(f"The annex cannot be read: {error}") from error
    _check_floors(figures)
    return figures


def _single(name: str, value: str, article: str) -> Figure | Mode | Rung:
    if name == "ballot_mode":
        return Mode(BallotMode(value), article)
    if name == "automatic_remediation":
        return Rung(Ladder(value), article)
    return Figure(int(value), article)


def _check_floors(figures: Figures) -> None:
    for key, floor in FLOORS.items():
        value = getattr(figures, key).value
        if value < floor:
            raise AnnexError(f"{key} is {value}, below the programme's floor of {floor}.")
    if figures.automatic_remediation.value == Ladder.EMERGENCY_LOCKDOWN:
        raise AnnexError("An emergency lockdown is never automatic: it needs the council.")
    if min(figures.restriction_hours.value, figures.block_hours.value, figures.lockdown_hours.value) < 1:
        raise AnnexError("A restriction lasts at least an hour.")
    if set(figures.tiers) != set(Strategy):
        raise AnnexError("The annex must name the four tiers, each once.")
    ordered = [figures.tiers[strategy] for strategy in Strategy]
    for tier in ordered:
        if tier.threshold_percent < 50 or tier.approvals < 1 or tier.legal > tier.approvals:
            raise AnnexError("Each tier needs a reviewer and a threshold of at least 50 %.")
        if not 0 <= tier.threshold_percent <= 100:
            raise AnnexError("A threshold is a percentage.")
    for milder, stricter in itertools.pairwise(ordered):
        for key in ("approvals", "legal", "council", "comment_days", "threshold_percent"):
            if getattr(stricter, key) < getattr(milder, key):
                raise AnnexError(f"{key} of a stricter tier is laxer than that of a milder one.")

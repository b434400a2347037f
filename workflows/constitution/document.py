"""Which document the portal governs by: its bytes, how they were hashed, and whether that is the expected hash."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec

from workflows.constitution.figures import PROGRAMME, AnnexError, Figures, read_figures
from workflows.constitution.principles import Principle, PrinciplesError, read_principles

SHIPPED = Path(__file__).with_name("constitution.md")


class Constitution(msgspec.Struct, frozen=True, kw_only=True):
    """The document in force. `problem` is None, or says in words why nothing may be anchored under it."""

    body: bytes
    source: str  # the file's name, as shown
    sha256: str  # 64 hex digits over `body`
    expected: str | None  # CONSTITUTION_HASH: 16 or 64 hex digits
    problem: str | None
    figures: Figures
    figures_problem: str | None  # why the programme's own figures are used instead of the annex
    principles: tuple[Principle, ...]  # none where the document has no such annex
    principles_problem: str | None  # why the annex of principles cannot be used

    @property
    def label(self) -> str:
        return self.sha256[:16]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")


def load(path: Path | None = None, expected: str | None = None) -> Constitution:
    """Read and hash the document. Never raises for a wrong hash or annex: the portal runs on and shows it.

    Raises OSError when the file cannot be read.
    """
    file = path or SHIPPED
    return of_bytes(file.read_bytes(), file.name, expected)


def of_bytes(body: bytes, source: str, expected: str | None = None) -> Constitution:
    """The constitution that these bytes are."""
    sha256 = hashlib.sha256(body).hexdigest()
    figures, figures_problem = PROGRAMME, None
    try:
        figures = read_figures(body.decode("utf-8"))
    except (AnnexError, UnicodeDecodeError) as error:
        figures_problem = f"{error} The programme's own figures apply."
    principles: tuple[Principle, ...] = ()
    principles_problem = None
    try:
        principles = read_principles(body.decode("utf-8", errors="replace"))
    except PrinciplesError as error:
        principles_problem = str(error)
    return Constitution(
        body=body,
        source=source,
        sha256=sha256,
        expected=expected or None,
        problem=_problem(sha256, expected or None),
        figures=figures,
        figures_problem=figures_problem,
        principles=principles,
        principles_problem=principles_problem,
    )


def _problem(sha256: str, expected: str | None) -> str | None:
    if expected is None:
        return None
    wanted = expected.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{16}|[0-9a-f]{64}", wanted):
        return f"CONSTITUTION_HASH is not 16 or 64 hex digits: “{expected}”."
    if not sha256.startswith(wanted):
        return f"CONSTITUTION_HASH is {wanted}, but the document hashes to {sha256}."
    return None

"""The part of a policy's pages that is about an amended constitution: its editor, what it changes, and whether it still can."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from portal.pages import proposal
from workflows.constitution import amendments
from workflows.constitution.document import Constitution
from workflows.errors import Conflict
from workflows.kinds import Category, PolicyState
from workflows.policy_creation import diff
from workflows.policy_creation.views import DocumentDraft, PolicyView, VersionView

FIELDS = ("amends", "constitution_text", "constitution_base_sha256")
UNDER_WAY = {
    PolicyState.DRAFT,
    PolicyState.IN_REVIEW,
    PolicyState.RETURNED,
    PolicyState.PUBLIC_COMMENT,
    PolicyState.VOTING,
}


def prefilled(values: dict[str, str], governing: Constitution) -> dict[str, str]:
    """The form's values; where no document was written yet, with the one in force to begin with."""
    if values.get("constitution_text"):
        return values
    return {
        **values,
        "constitution_text": governing.text,
        "constitution_base_sha256": governing.sha256,
    }


def values_of(version: VersionView) -> dict[str, str]:
    amended = version.constitution
    if amended is None:
        return dict.fromkeys(FIELDS, "")
    return {
        "amends": "true",
        "constitution_text": amended.text,
        "constitution_base_sha256": amended.base_sha256,
    }


def document(values: dict[str, str]) -> DocumentDraft | None:
    """The amended document that the form sends; none where it is not meant, or the policy is of another category."""
    if values["amends"] != "true" or values["category"] != Category.CONSTITUTIONAL:
        return None
    return DocumentDraft(text=values["constitution_text"], base_sha256=values["constitution_base_sha256"])


def previewed(values: dict[str, str], governing: Constitution) -> dict[str, Any] | None:
    """What the document in the form changes of the one in force."""
    written = document(values)
    if written is None:
        return None
    text = amendments.normalised(written.text)
    return _shown(text, governing, faults=amendments.faults(text))


def outdated(
    values: dict[str, str], governing: Constitution, refusal: Conflict
) -> tuple[dict[str, str], dict[str, str]]:
    """The form's values, meant for the document now in force, and what to tell whoever wrote against another one."""
    notice = {
        "kind": "warning",
        "title": "The constitution was amended since you opened this",
        "text": "Nothing was recorded, and what you wrote stands below. Write your change into the document that is in force "
        "now, put that in place of the one below, and look at the preview: it shows what would change.",
        "href": "/constitution/document",
        "link": "Open the document in force",
    }
    assert refusal.code == "constitution_changed"
    return {**values, "constitution_base_sha256": governing.sha256}, notice


async def of(
    connection: AsyncConnection,
    governing: Constitution,
    policy: PolicyView,
    version: VersionView | None = None,
) -> dict[str, Any] | None:
    """What a version's amended document changes of the one it was written against; none where it carries none."""
    amended = (version or policy.version).constitution
    if amended is None:
        return None
    base = await amendments.document(connection, governing, amended.base_sha256)
    shown = _shown(amended.text, base) if base else {"rows": None, "effects": []}
    gone = policy.state in UNDER_WAY and amended.base_sha256 != governing.sha256
    return {
        **shown,
        "sha256": amended.sha256,
        "base_sha256": amended.base_sha256,
        "outdated": amendments.outdated(amended.base_sha256) if gone else None,
        "in_force": amended.sha256 == governing.sha256,
    }


def _shown(text: str, base: Constitution, faults: list[str] | None = None) -> dict[str, Any]:
    return {
        "rows": proposal.diff_rows(list(diff.lines(base.text, text))) if text != base.text else [],
        "effects": amendments.effects(base.text, text),
        "faults": faults or [],
        "sha256": amendments.sha256_of(text),
        "base_sha256": base.sha256,
        "outdated": None,
        "in_force": False,
    }

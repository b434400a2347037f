"""What we hand out as a beginning is sound itself."""

from __future__ import annotations

import pytest

from workflows.policy_enforcement import rules
from workflows.policy_enforcement.bundle import EMPTY, Bundle, revision_of
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.templates import ALL, Template


@pytest.mark.parametrize("template", ALL, ids=lambda item: item.key)
async def test_each_template_passes_the_gate(template: Template, pool: EnginePool) -> None:
    report = await rules.examine(pool, template.rule, Bundle(revision_of(EMPTY), EMPTY, {}, {}), [])
    assert report.passed, report.summary()
    assert report.declared is not None and set(report.declared.facts) == set(template.facts)


async def test_all_of_them_go_together(pool: EnginePool) -> None:
    bundle = Bundle(revision_of(EMPTY), EMPTY, {}, {})
    for number, template in enumerate(ALL):
        report = await rules.examine(pool, template.rule, bundle, [])
        assert report.passed and report.declared is not None, report.summary()
        bundle = rules.with_rule(bundle, template.rule, report.declared, f"POL-2026-{number:04}")
    assert len(bundle.manifest.rules) == len(ALL)

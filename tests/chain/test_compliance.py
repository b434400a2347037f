"""`check_compliance` of what was enacted, as the program itself answers on a real localnet."""

from __future__ import annotations

from chain.config import ChainConfig
from tests.chain.bridge import change, one_pass, rows, run_until_done
from tests.chain.enacted import Assembly
from workflows.constitutional_compliance.on_chain import OnChain, of_policy
from workflows.kinds import Category


async def said(assembly: Assembly, ref: str) -> OnChain:
    async with assembly.engine.connect() as connection:
        return await of_policy(connection, ref)


async def test_the_program_finds_what_is_in_force_compliant_and_what_is_suspended_not_active(
    assembly: Assembly, own: ChainConfig
) -> None:
    ref = await assembly.enact(category=Category.FINANCIAL)
    before = await said(assembly, ref)
    assert (before.checked, before.passed, before.at) == (False, None, None)
    assert "not final" in before.says
    await run_until_done(assembly, own)
    first = await said(assembly, ref)
    assert (first.checked, first.passed, first.code) == (True, True, "ok")
    assert first.slot is not None and first.at is not None
    await assembly.suspend(ref)
    await run_until_done(assembly, own)
    after = await said(assembly, ref)
    assert (after.passed, after.code) == (False, "PolicyNotActive")
    assert after.slot is not None and after.slot > first.slot


async def test_it_is_asked_again_after_a_while_and_not_before(assembly: Assembly, own: ChainConfig) -> None:
    ref = await assembly.enact()
    await run_until_done(assembly, own)
    first = await said(assembly, ref)
    await one_pass(assembly, own)
    assert (await said(assembly, ref)).at == first.at
    await change(assembly, "UPDATE chain_compliance SET checked_at = checked_at - interval '11 minutes'")
    await one_pass(assembly, own)
    later = await said(assembly, ref)
    assert later.at is not None and first.at is not None and later.at > first.at


async def test_what_never_came_into_force_says_so(assembly: Assembly) -> None:
    ref = await assembly.put_to_the_vote()
    assert not (await said(assembly, ref)).checked
    assert "not in force" in (await said(assembly, ref)).says
    assert await rows(assembly, "SELECT * FROM chain_compliance") == []

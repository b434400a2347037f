"""The supervisor's own death, in the middle of an anchoring. What else it promises, tests/portal/test_supervisor.py proves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.e2e.running import survivors
from tests.reliability.house import House


def test_everything_is_there_after_the_supervisor_was_killed(fresh: Callable[[], House]) -> None:
    """Killed alone and started again at once; then killed with everything else, as when the power fails."""
    house = fresh()
    house.start()
    ref = house.voted("The supervisor is killed")
    house.order("signed", "hold")
    house.jump()
    house.reached("signed")
    house.kill("supervisor")
    house.release("signed")
    house.start()
    house.finalized(ref)
    assert house.audited(ref).count("anchor.finalized") == 1
    assert house.get(f"/api/v1/policies/{ref}/results").json()["counts"]["for"] == 5

    trail, final = house.audited(ref), house.anchors(ref)
    for pid in survivors(house.data_dir):
        os.kill(pid, signal.SIGKILL)
    house.process.wait()
    house.start()
    assert (house.audited(ref), house.anchors(ref)) == (trail, final)
    assert house.get(f"/policies/{ref}").status_code == 200
    house.voted("Life goes on")
    # Ctrl-C at a terminal reaches the whole group.
    os.killpg(house.process.pid, signal.SIGINT)
    assert house.process.wait(40) == 0
    assert not survivors(house.data_dir)

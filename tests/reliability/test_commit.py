"""A COMMIT that fails leaves nothing, tells nobody, and can be asked for again with the same key."""

from __future__ import annotations

import redis

from tests.reliability.house import House

# Refuses at COMMIT, when everything was written and the handler has answered.
REFUSE = (
    "CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the commit fails'; END $$",
    "CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT ON comment DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION refuse_commit()",
)
COUNTS = {
    "comments": "SELECT count(*) FROM comment",
    "entries": "SELECT count(*) FROM audit.entry",
    "jobs": "SELECT count(*) FROM pgqueuer",
    "kept answers": "SELECT count(*) FROM idempotency",
}


def test_a_failed_commit(house: House) -> None:
    ref = house.proposed("A comment that cannot be committed")["policy"]["ref"]
    own = f"/api/v1/policies/{ref}/comments"
    events = redis.Redis(unix_socket_path=str(house.data_dir / "valkey" / "valkey.sock"))

    def state() -> dict[str, int]:
        counts = {name: house.value(query) for name, query in COUNTS.items()}
        told = events.xrange("acgs:events", count=100_000)
        return counts | {"events": sum(entry[b"topic"] == f"policy:{ref}".encode() for _, entry in told)}

    before = state()
    for statement in REFUSE:
        house.rows(statement)
    try:
        answer = house.post("ada", own, {"body": "Will this be kept?"}, key="a-failed-commit")
    finally:
        house.rows("DROP FUNCTION refuse_commit() CASCADE")
    assert answer.status_code == 500, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "the commit fails" not in answer.text
    assert state() == before

    again = house.post("ada", own, {"body": "Will this be kept?"}, key="a-failed-commit")
    assert again.status_code == 201
    after = state()
    assert (after["comments"], after["kept answers"]) == (before["comments"] + 1, before["kept answers"] + 1)
    assert after["events"] > before["events"]

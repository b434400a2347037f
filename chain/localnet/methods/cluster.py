"""Methods about the node and its cluster of one."""

from typing import Any

from chain.localnet import arguments
from chain.localnet.bank import Bank
from chain.localnet.errors import invalid_params

MAX_SLOT_LEADERS = 5_000


def get_health(bank: Bank) -> Any:
    return "ok"


def get_version(bank: Bank) -> Any:
    """Without `feature-set`: LiteSVM does not name the one it runs with."""
    return {"solana-core": arguments.API_VERSION}


def get_genesis_hash(bank: Bank) -> Any:
    return str(bank.genesis_hash)


def get_identity(bank: Bank) -> Any:
    return {"identity": str(bank.identity)}


def get_cluster_nodes(bank: Bank) -> Any:
    """This node alone; it speaks no gossip and takes no transactions but by JSON-RPC."""
    unreachable = dict.fromkeys(("gossip", "tpu", "tpuQuic", "tvu", "rpc", "pubsub", "shredVersion"))
    return [
        {
            "pubkey": str(bank.identity),
            "version": arguments.API_VERSION,
            "featureSet": None,
            **unreachable,
        }
    ]


def get_vote_accounts(bank: Bank, config: Any = None) -> Any:
    """None: one node decides, nobody votes."""
    arguments.options(config)
    return {"current": [], "delinquent": []}


def get_epoch_info(bank: Bank, config: Any = None) -> Any:
    view = arguments.view(bank, arguments.options(config))
    schedule = view.svm.get_epoch_schedule()
    epoch, index = schedule.get_epoch_and_slot_index(view.slot)
    return {
        "absoluteSlot": view.slot,
        "blockHeight": view.slot,
        "epoch": epoch,
        "slotIndex": index,
        "slotsInEpoch": schedule.get_slots_in_epoch(epoch),
        "transactionCount": bank.ledger.transaction_count(view.slot),
    }


def get_epoch_schedule(bank: Bank) -> Any:
    schedule = bank.views["finalized"].svm.get_epoch_schedule()
    return {
        "slotsPerEpoch": schedule.slots_per_epoch,
        "leaderScheduleSlotOffset": schedule.leader_schedule_slot_offset,
        "warmup": schedule.warmup,
        "firstNormalEpoch": schedule.first_normal_epoch,
        "firstNormalSlot": schedule.first_normal_slot,
    }


def get_slot_leader(bank: Bank, config: Any = None) -> Any:
    arguments.view(bank, arguments.options(config))
    return str(bank.identity)


def get_slot_leaders(bank: Bank, first: Any, limit: Any) -> Any:
    arguments.number(first)
    if not 1 <= arguments.number(limit) <= MAX_SLOT_LEADERS:
        raise invalid_params(f"Invalid limit; max {MAX_SLOT_LEADERS}")
    return [str(bank.identity)] * limit


METHODS: dict[str, Any] = {
    "getHealth": get_health,
    "getVersion": get_version,
    "getGenesisHash": get_genesis_hash,
    "getIdentity": get_identity,
    "getClusterNodes": get_cluster_nodes,
    "getVoteAccounts": get_vote_accounts,
    "getEpochInfo": get_epoch_info,
    "getEpochSchedule": get_epoch_schedule,
    "getSlotLeader": get_slot_leader,
    "getSlotLeaders": get_slot_leaders,
}

"""After calm: losses that no owner may go on from, and a view that is not this ledger's. One owner, no other fault."""

from typing import TYPE_CHECKING

from pipeline.adapters.memory_broker import MemoryPartition
from pipeline.adapters.partition import LedgerHaltedError
from pipeline.charge.owner import Owner
from pipeline.settings import ChargeSettings
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, USAGE_ACCEPTED

if TYPE_CHECKING:
    from sim_world import World

_SETTINGS = ChargeSettings(batch_records=5)


def halts(world: "World") -> list[str]:
    """Break something that must halt the partition; return what is wrong if it does not, or if anything changes."""
    rng, broker = world.rng, world.broker
    partition = rng.randrange(world.partitions)
    log = broker.logs[AUDIT.name, partition]
    if broker.last(AUDIT.name, partition) is None:
        return []
    kind = rng.choice(("tail", "anew", "lost"))
    topic = rng.choice((USAGE_ACCEPTED.name, ACCOUNT_COMMAND.name))
    if kind == "tail":
        world.met("halts: the ledger lost its tail")
        last = max(at for at, entry in enumerate(log.entries) if not entry.marker)
        del log.entries[rng.randrange(last + 1) :]
    elif kind == "anew":
        world.met("halts: an input was made anew")
        broker.topic_ids[topic] = b"z" * 16
    else:
        world.met("halts: an input lost records")
        for _ in range(2):
            broker.append(topic, partition, b"k", b"gone before it was charged")
        broker.logs[topic, partition].first = len(broker.logs[topic, partition].entries) - 1
    before = list(log.entries), str(world.store.hashes), str(world.store.sets)
    owner = Owner(partition, world.partitions, MemoryPartition(broker, partition), world.store, _SETTINGS)
    try:
        owner.take_over()
    except LedgerHaltedError:
        after = log.entries, str(world.store.hashes), str(world.store.sets)
        return [] if before == after else ["a halted partition changed something"]
    return [f"no halt, though {kind} was lost of {topic}"]


def of_another_ledger(world: "World") -> None:
    """Put another ledger's view in place of ours, and take over: it is told by its hash, and built anew."""
    world.met("the view is of another ledger")
    for partition in range(world.partitions):
        head = world.store.hashes.get(f"ledger:{{{partition}}}")
        if head is not None:
            head["seq"] = str(world.rng.randrange(1, int(head["seq"]) + 1))
            head["hash"] = "00" * 32
            world.store.hashes[f"account:{{{partition}}}:nobody"] = {"balance": "1"}
            world.store.sets[f"seen:{{{partition}}}:1:1"] = {1}
        Owner(partition, world.partitions, MemoryPartition(world.broker, partition), world.store, _SETTINGS).take_over()

"""What is put into the code under test for as long as a run lasts: small chunks, caches, a log that is our trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sim_scheduler import Killed

from pipeline.adapters import memory_broker
from pipeline.adapters.avro import ACCOUNT_COMMAND
from pipeline.charge import owner as owner_module
from pipeline.charge import worker as worker_module

if TYPE_CHECKING:
    from sim_world import World

REPLAY_CHUNK = 4
"""Events a replay applies at once here, so that it is more than one request."""


DEADLY = "deadly"
"""The cell of a record, or the actor of a command, that ends every process that reads it."""
EXPECTED_ERRORS = frozenset(
    {"BrokerSilentError", "ViewUnavailableError", "OutOfStepError", "FencedError", "InvalidTransactionError",
     "EndNotReachedError", "NotDeliveredError", "NotMemberError"}
)  # fmt: skip

_decode_event = lru_cache(20_000)(memory_broker.decode_event)
_read_accepted = lru_cache(20_000)(owner_module.accepted_usage_of)


class _Log:
    """The owner's log: every take-over says why."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def warning(self, event: str, **said: Any) -> None:
        self._world.say("%s %s", event, said)
        error = said.get("error")
        if error not in EXPECTED_ERRORS:
            self._world.violations.append(f"{event}: {error} {said.get('why')}")

    def error(self, event: str, **said: Any) -> None:
        self._world.violations.append(f"{event}: {said.get('why')}")

    def info(self, event: str, **said: Any) -> None:
        self._world.say("%s %s", event, said)
        if said.get("replayed"):
            self._world.met("a take-over replays the ledger's tail into the view")


class _Commands:
    """Reads commands, one of which ends the process."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def decode(self, value: bytes) -> dict[str, Any]:
        found = ACCOUNT_COMMAND.decode(value)
        if found["actor"] == DEADLY:
            _end_process(self._world)
        return found


def _end_process(world: "World") -> None:
    world.met("a record ends the process")
    for process in world.charges:
        process.crashed = process.crashed or world.scheduler.running in process.actors()
    raise Killed


@contextmanager
def patched(world: "World") -> Iterator[None]:
    """Put in what makes a run fast, small and noisy to us alone, for as long as it lasts."""

    def read(value: bytes) -> Any:
        found = _read_accepted(value)
        if found[0].cell == DEADLY:
            _end_process(world)
        return found

    patches = [
        (memory_broker, "decode_event", _decode_event),
        (owner_module, "accepted_usage_of", read),
        (owner_module, "ACCOUNT_COMMAND", _Commands(world)),
        (owner_module, "APPLY_EVENTS_MAX", REPLAY_CHUNK),
        (owner_module, "IDLE_STEPS_A_LOOK", 2),
        (worker_module, "_log", _Log(world)),
        *world.mutation.patches(world),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in patches]
    for place, name, value in patches:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in reversed(before):
            setattr(place, name, value)

"""Everything the view holds of one partition, for those who check it: read without stopping anybody.

Nothing here is a snapshot: the view may move while it is read. So the head is read before and after, and each value
is what the key held at some moment between the two. Each `SCAN` walks all keys of the server (in a cluster: of one
slot), so this is work for an audit, not for a batch.
"""

from array import array
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from pipeline.adapters.store import keys
from pipeline.adapters.store.memory import MemoryStore
from pipeline.adapters.store.redis import connect
from pipeline.settings import Settings

_SCAN_COUNT: Final = 5_000
_READ_KEYS: Final = 500
_HASHES: Final = ("account", "kept", "session")
_SETS: Final = ("seen",)


class Dump(NamedTuple):
    """What the view holds of one partition, by key, without `ledger:{p}` itself and the attempt counter."""

    before: dict[str, str]
    """the fields of `ledger:{p}` before the rest was read; empty where there are none"""
    after: dict[str, str]
    """and after it"""
    hashes: dict[str, dict[str, str]]
    sets: dict[str, "array[int]"]
    """members in rising order"""
    strange: dict[str, str]
    """keys that are of no known kind or type, or hold what no release wrote, and what is strange"""
    expiries_s: dict[str, int] | None
    """when keys expire, in seconds since 1970, of those that do; None for a view in which nothing ever does"""


def dump_partition(settings: Settings, partition: int) -> Dump:
    """Read one partition's keys from Redis; raises the library's errors where Redis does not answer."""
    client: Any = connect(settings, as_text=False)
    try:
        head = keys.ledger(partition)
        dump = Dump(_fields(client.hgetall(head)), {}, {}, {}, {}, {})
        names: list[str] = []
        for name in _names(client, partition):
            names.append(name)
            if len(names) == _READ_KEYS:
                _read(client, names, dump)
                names = []
        _read(client, names, dump)
        dump.after.update(_fields(client.hgetall(head)))
        return dump
    finally:
        client.close()


def dump_memory(store: MemoryStore, partition: int) -> Dump:
    """Read one partition's keys from the view in a dict."""
    head = store.head(partition)
    sets = {name: array("q", sorted(held)) for name, held in store.sets.items() if _is_of(name, partition)}
    hashes = {name: dict(held) for name, held in store.hashes.items() if _is_of(name, partition)}
    return Dump(head, dict(head), hashes, sets, {}, None)


def _names(client: Any, partition: int) -> Iterator[str]:
    found: set[str] = set()  # a scan may yield a key more than once
    for raw in client.scan_iter(match=f"*:{keys.tag(partition)}*", count=_SCAN_COUNT):
        name = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else str(raw)
        if _is_of(name, partition) and name not in found:
            found.add(name)
            yield name


def _is_of(name: str, partition: int) -> bool:
    own = (keys.ledger(partition), keys.attempts(partition))
    return name.partition(":")[2].partition(":")[0] == keys.tag(partition) and name not in own


def _read(client: Any, names: list[str], dump: Dump) -> None:
    if not names:
        return
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            kind = name.partition(":")[0]
            if kind in _HASHES:
                pipe.hgetall(name)
            elif kind in _SETS:
                pipe.smembers(name)
            else:
                pipe.type(name)
            pipe.expiretime(name)
        replies = pipe.execute(raise_on_error=False)
    assert dump.expiries_s is not None
    for name, value, expiry in zip(names, replies[::2], replies[1::2], strict=True):
        if isinstance(expiry, Exception):
            raise expiry
        if _put(name, value, dump) and expiry >= 0:
            dump.expiries_s[name] = expiry


def _put(name: str, value: Any, dump: Dump) -> bool:
    """Sort one key's value into the dump; False where the key went while we looked."""
    kind = name.partition(":")[0]
    if isinstance(value, Exception):
        if not str(value).startswith("WRONGTYPE"):
            raise value
        dump.strange[name] = "it is of another type"
    elif kind not in (*_HASHES, *_SETS):
        dump.strange[name] = f"no {kind} is kept in the view"
    elif not value:
        return False
    elif kind in _HASHES:
        dump.hashes[name] = _fields(value)
    else:
        numbers = _numbers(value)
        if numbers is None:
            dump.strange[name] = "it holds what is no 64-bit number"
        else:
            dump.sets[name] = numbers
    return True


def _numbers(members: Any) -> "array[int] | None":
    texts = [_text(member) for member in members]
    try:
        numbers = array("q", sorted(map(int, texts)))
    except (ValueError, OverflowError):
        return None
    return numbers if set(texts) == set(map(str, numbers)) else None


def _fields(reply: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in reply.items()}


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)

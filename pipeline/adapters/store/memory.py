"""The view in a dict: the twin of the Redis one, for unit tests, simulation and rating offline."""

from collections.abc import Iterable

from pipeline.adapters.store import Loaded, Need, OutOfStepError, keys
from pipeline.domain.ledger import Writes


class MemoryStore:
    """Keeps the promises of `Store` in this process. Nothing expires: it has no clock."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, str]] = {}
        self.sets: dict[str, set[int]] = {}
        self._restoring: dict[int, object] = {}
        self._attempts: dict[int, tuple[str, int]] = {}

    def head(self, partition: int) -> dict[str, str]:
        """See Store."""
        return dict(self.hashes.get(keys.ledger(partition), {}))

    def account(self, partition: int, account: str) -> dict[str, str]:
        """See Store."""
        return dict(self.hashes.get(keys.account(partition, account), {}))

    def load(self, partition: int, seq: int, need: Need) -> Loaded:
        """See Store."""
        at = int(self.head(partition).get("seq", "0"))
        if at != seq:
            raise OutOfStepError(f"the view stands at seq {at}")
        empty: dict[str, str] = {}
        accounts = {}
        for name in need.accounts:
            found = self.hashes.get(keys.account(partition, name))
            if found:
                accounts[name] = dict(found)
        kept = {}
        for name, field in need.kept:
            value = self.hashes.get(keys.kept(partition, name), empty).get(field)
            if value is not None:
                kept[name, field] = value
        sessions = {key: dict(self.hashes.get(keys.session(partition, key), empty)) for key in need.sessions}
        seen = {}
        for asked in need.seen:
            day, bucket, record, content = asked
            numbers = self.sets.get(keys.seen(partition, day, bucket), set())
            seen[asked] = (record in numbers, content in numbers)
        return Loaded(accounts, kept, sessions, seen)

    def apply(self, partition: int, previous_hash: str, writes: Writes) -> None:
        """See Store."""
        head = self.head(partition)
        at = int(head.get("seq", "0"))
        if at >= writes.last_seq:
            return
        if partition in self._restoring:
            raise OutOfStepError("a snapshot is being put in")
        if at != writes.first_seq - 1 or (at > 0 and head["hash"] != previous_hash):
            raise OutOfStepError(f"the view stands at seq {at}")
        self.write(partition, writes)
        self.hashes.setdefault(keys.ledger(partition), {}).update(writes.head)

    def write(self, partition: int, writes: Writes) -> None:
        """Write the values behind the gate, but not what opens it: as far as a script came that ended half way."""
        for name, changes in writes.accounts.items():
            self._put(keys.account(partition, name), changes)
        for name, added in writes.kept.items():
            self._put(keys.kept(partition, name), dict(added))
        for key, (_, changes, emptied) in writes.sessions.items():
            if emptied:
                self.hashes.pop(keys.session(partition, key), None)
            self._put(keys.session(partition, key), changes)
        for (day, bucket), (_, numbers) in writes.seen.items():
            self.sets.setdefault(keys.seen(partition, day, bucket), set()).update(numbers)

    def restore(self, partition: int, parts: Iterable[Writes]) -> None:
        """See Store."""
        word = object()
        if self.head(partition) or partition in self._restoring:
            raise OutOfStepError(f"the view stands at seq {self.head(partition).get('seq', '0')}")
        self._restoring[partition] = word
        for part in parts:
            if self._restoring.get(partition) is not word:
                raise OutOfStepError("the view was wiped while it was filled")
            self.write(partition, part)
            if part.head:
                self.hashes.setdefault(keys.ledger(partition), {}).update(part.head)
                del self._restoring[partition]

    def wipe(self, partition: int) -> None:
        """See Store."""
        self.close_gate(partition)
        self.remove(partition)

    def close_gate(self, partition: int) -> None:
        """Begin a wipe: from here on every other writer is out of step."""
        self._restoring.pop(partition, None)
        self.hashes.pop(keys.ledger(partition), None)

    def remove(self, partition: int) -> None:
        """End a wipe, unless another writer has begun to rebuild the view since."""
        if keys.ledger(partition) in self.hashes or partition in self._restoring:
            return
        tag = f":{keys.tag(partition)}"
        self.hashes = {name: value for name, value in self.hashes.items() if tag not in name}
        self.sets = {name: value for name, value in self.sets.items() if tag not in name}

    def attempt(self, partition: int, at: str) -> int:
        """See Store."""
        before, count = self._attempts.get(partition, ("", 0))
        self._attempts[partition] = (at, count + 1 if before == at else 1)
        return self._attempts[partition][1]

    def attempts_ended(self, partition: int) -> None:
        """See Store."""
        self._attempts.pop(partition, None)

    def _put(self, key: str, changes: dict[str, str | None]) -> None:
        fields = self.hashes.setdefault(key, {})
        for field, value in changes.items():
            if value is None:
                fields.pop(field, None)
            else:
                fields[field] = value
        if not fields:
            del self.hashes[key]

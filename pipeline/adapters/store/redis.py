"""The view in Redis or Valkey. The only importer of redis.

The library retries a command up to ten times by itself, and a write that timed out may have happened: so retries are
off, a time-out means *unknown*, and unknown means take over again.
"""

import secrets
import socket
from collections.abc import Iterable, Iterator
from importlib.resources import files
from itertools import islice
from typing import Any, Final, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from pipeline.adapters.store import Loaded, Need, OutOfStepError, ViewUnavailableError, keys
from pipeline.domain.ledger import Writes
from pipeline.settings import Settings

__all__ = ["RedisError", "RedisStore", "connect", "view_answers"]

_VALUES_MAX: Final = 1_000
_SCAN_COUNT: Final = 1_000


def connect(settings: Settings, *, as_text: bool = True) -> "redis.Redis":
    """Return a client that never retries; raises ViewUnavailableError where no Redis is configured.

    All of the view is text, and the parser makes it in C; who looks for what should not be there takes bytes.
    """
    if not settings.redis.url:
        raise ViewUnavailableError("no Redis: set CHARGELINE_REDIS__URL, or start one with `chargeline up`")
    password = None
    if settings.redis.password_file is not None:
        password = settings.redis.password_file.read_text().strip()
    options: dict[str, Any] = {} if password is None else {"password": password}
    return redis.Redis.from_url(
        settings.redis.url,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        socket_timeout=settings.redis.socket_timeout_s,
        socket_connect_timeout=settings.redis.socket_timeout_s,
        socket_keepalive=True,
        decode_responses=as_text,
        client_name=f"chargeline-{socket.gethostname()[:40]}",
        **options,
    )


def view_answers(url: str) -> bool:
    """Tell whether a server answers at this address now, its data loaded."""
    client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=1, socket_connect_timeout=1)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


class ServerFacts(NamedTuple):
    """How the server is set up; None where it may not be asked (an ACL without CONFIG)."""

    clock_ms: int
    eviction: str | None
    append_only: str | None
    append_fsync: str | None


class RedisStore:
    """Keeps the promises of `Store` in Redis; one instance a thread."""

    def __init__(self, settings: Settings) -> None:
        self._redis: Any = connect(settings)
        scripts = files(__package__).joinpath("lua")
        self._load = _Script(scripts.joinpath("load.lua").read_text("utf-8"))
        self._apply = _Script(scripts.joinpath("apply.lua").read_text("utf-8"))
        self._wipe = _Script(scripts.joinpath("wipe.lua").read_text("utf-8"))
        self._restore = _Script(scripts.joinpath("restore.lua").read_text("utf-8"))

    def check(self) -> None:
        """Refuse a server that may evict balances; raises ViewUnavailableError."""
        policy = self._config("GET", "maxmemory-policy").get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            raise ViewUnavailableError(
                f"maxmemory-policy is {policy}: a server that evicts keys loses balances; set noeviction"
            )

    def server(self) -> ServerFacts:
        """Return how the server is set up; raises ViewUnavailableError where it does not answer."""
        seconds, micros = self._call("TIME")
        try:
            config = self._config("GET", "maxmemory-policy", "appendonly", "appendfsync")
        except ViewUnavailableError:  # it answered just now: it is the question that is refused
            config = {}
        return ServerFacts(
            int(seconds) * 1000 + int(micros) // 1000,
            config.get("maxmemory-policy"),
            config.get("appendonly"),
            config.get("appendfsync"),
        )

    def head(self, partition: int) -> dict[str, str]:
        """See Store."""
        return _fields(self._call("HGETALL", keys.ledger(partition)))

    def account(self, partition: int, account: str) -> dict[str, str]:
        """See Store."""
        return _fields(self._call("HGETALL", keys.account(partition, account)))

    def load(self, partition: int, seq: int, need: Need) -> Loaded:
        """See Store."""
        names = [keys.ledger(partition)]
        names += [keys.account(partition, name) for name in need.accounts]
        names += [keys.session(partition, key) for key in need.sessions]
        names += [keys.kept(partition, name) for name, _ in need.kept]
        arguments: list[str | int] = [seq, len(need.accounts), len(need.sessions), len(need.kept)]
        arguments += [field for _, field in need.kept]
        for day, bucket, record, content in need.seen:
            names.append(keys.seen(partition, day, bucket))
            arguments += (record, content)
        reply = self._run(self._load, names, arguments)
        sessions_at = len(need.accounts)
        kept_at = sessions_at + len(need.sessions)
        seen_at = kept_at + len(need.kept)
        return Loaded(
            {name: _fields(found) for name, found in zip(need.accounts, reply, strict=False) if found},
            {asked: found for asked, found in zip(need.kept, reply[kept_at:seen_at], strict=True) if found is not None},
            {key: _fields(found) for key, found in zip(need.sessions, reply[sessions_at:kept_at], strict=True)},
            {asked: (found[0] == 1, found[1] == 1) for asked, found in zip(need.seen, reply[seen_at:], strict=True)},
        )

    def apply(self, partition: int, previous_hash: str, writes: Writes) -> None:
        """See Store."""
        names = [keys.ledger(partition)]
        arguments: list[str | int] = [writes.first_seq, writes.last_seq, previous_hash, len(writes.head)]
        for field, value in writes.head.items():
            arguments += (field, value)
        _put_changes(names, arguments, partition, writes)
        self._run(self._apply, names, arguments)

    def restore(self, partition: int, parts: Iterable[Writes]) -> None:
        """See Store."""
        ledger, word = keys.ledger(partition), secrets.token_hex(8)
        self._run(self._restore, [ledger], [word, "begin", 0])
        for part in parts:
            names = [ledger]
            arguments: list[str | int] = [word, "end" if part.head else "part", len(part.head)]
            for field, value in part.head.items():
                arguments += (field, value)
            _put_changes(names, arguments, partition, part)
            self._run(self._restore, names, arguments)

    def wipe(self, partition: int) -> None:
        """See Store."""
        ledger = keys.ledger(partition)
        self._call("DEL", ledger)
        names = self.keys_of(partition)
        while some := list(islice(names, _VALUES_MAX)):
            if not self._run(self._wipe, [ledger, *some], []):
                return  # another wiped it as well, and has begun to rebuild it: what is there now is new

    def attempt(self, partition: int, at: str) -> int:
        """See Store."""
        return int(self._call("HINCRBY", keys.attempts(partition), at, 1))

    def attempts_ended(self, partition: int) -> None:
        """See Store."""
        self._call("DEL", keys.attempts(partition))

    def keys_of(self, partition: int) -> Iterator[str]:
        """Yield every key of the partition, in no order; keys written meanwhile may be missed."""
        try:
            yield from self._redis.scan_iter(match=f"*:{keys.tag(partition)}*", count=_SCAN_COUNT)
        except RedisError as error:
            raise _unavailable(error) from None

    def accounts(self, partitions: int) -> Iterator[tuple[int, str]]:
        """Yield partition and name of every account, in no order and some twice; one opened meanwhile may be missed."""
        known = {keys.account(partition, ""): partition for partition in range(partitions)}
        try:
            for key in self._redis.scan_iter(match="account:*", count=_SCAN_COUNT):
                tag, brace, name = str(key).partition("}:")
                if tag + brace in known:
                    yield known[tag + brace], name
        except RedisError as error:
            raise _unavailable(error) from None

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _config(self, *command: str) -> dict[str, str]:
        return _fields(self._call("CONFIG", *command))

    def _call(self, *command: str | int) -> Any:
        try:
            return self._redis.execute_command(*command)
        except RedisError as error:
            raise _unavailable(error) from None

    def _run(self, script: "_Script", names: list[str], arguments: list[str | int]) -> Any:
        try:
            if script.sha is None:
                script.sha = self._redis.script_load(script.source)
            try:
                return self._redis.execute_command("EVALSHA", script.sha, len(names), *names, *arguments)
            except NoScriptError:  # nothing ran: a server that restarted has forgotten its scripts
                script.sha = self._redis.script_load(script.source)
                return self._redis.execute_command("EVALSHA", script.sha, len(names), *names, *arguments)
        except ResponseError as error:
            if str(error).startswith("OUTOFSTEP"):
                raise OutOfStepError(f"the view stands at seq {str(error).split()[1]}") from None
            raise _unavailable(error) from None
        except RedisError as error:
            raise _unavailable(error) from None


class _Script:
    def __init__(self, source: str) -> None:
        self.source = source
        self.sha: str | None = None


def _put_changes(names: list[str], arguments: list[str | int], partition: int, writes: Writes) -> None:
    """Add each change's key to the names, and what it is, its expiry and its values to the arguments."""
    for key, expiry, changes, emptied in _hashes(partition, writes):
        if emptied:
            names.append(key)
            arguments += ("new", 0, 0)
        _put_hash(names, arguments, key, expiry, changes)
    for (day, bucket), (expires_day, numbers) in writes.seen.items():
        for at in range(0, len(numbers), _VALUES_MAX):
            part = numbers[at : at + _VALUES_MAX]
            names.append(keys.seen(partition, day, bucket))
            arguments += ("add", keys.expiry_s(expires_day), len(part))
            arguments += part


def _hashes(partition: int, writes: Writes) -> Iterator[tuple[str, int, dict[str, str | None], bool]]:
    for name, changes in writes.accounts.items():
        yield keys.account(partition, name), 0, changes, False
    for name, added in writes.kept.items():
        yield keys.kept(partition, name), 0, dict(added), False
    for key, (expires_day, changes, emptied) in writes.sessions.items():
        yield keys.session(partition, key), keys.expiry_s(expires_day), changes, emptied


def _put_hash(
    names: list[str], arguments: list[str | int], key: str, expiry: int, changes: dict[str, str | None]
) -> None:
    pairs = [item for field, value in changes.items() if value is not None for item in (field, value)]
    gone = [field for field, value in changes.items() if value is None]
    for what, values in (("set", pairs), ("del", gone)):
        for at in range(0, len(values), _VALUES_MAX):
            part = values[at : at + _VALUES_MAX]
            names.append(key)
            arguments += (what, expiry, len(part))
            arguments += part


def _unavailable(error: Exception) -> ViewUnavailableError:
    return ViewUnavailableError(f"Redis: {type(error).__name__}: {str(error)[:200]}")


def _fields(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))

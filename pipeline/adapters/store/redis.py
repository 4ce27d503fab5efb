"""The view in Redis or Valkey. The only importer of redis.

The library retries a command up to ten times by itself, and a write that timed out may have happened: so retries are
off, a time-out means *unknown*, and unknown means take over again.
"""

import json
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
        load, changes, apply, wipe, restore = (
            scripts.joinpath(f"{name}.lua").read_text("utf-8")
            for name in ("load", "changes", "apply", "wipe", "restore")
        )
        self._load, self._wipe = _Script(load), _Script(wipe)
        self._apply, self._restore = _Script(changes + apply), _Script(changes + restore)

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
        kept = [text for pair in need.kept for text in pair]
        seen: list[str] = []
        for day, bucket, record, content in need.seen:
            seen += (f"{day}:{bucket}", str(record), str(content))  # as text: Lua's numbers are doubles
        asked = json.dumps((need.accounts, need.sessions, kept, seen))
        accounts, sessions, values, known = self._run(self._load, [keys.ledger(partition)], [seq, asked])
        found = dict.fromkeys(need.seen, (False, False))
        for at in range(0, len(known), 3):
            found[need.seen[known[at]]] = (known[at + 1] == 1, known[at + 2] == 1)
        return Loaded(
            {name: _fields(fields) for name, fields in zip(need.accounts, accounts, strict=True) if fields},
            {pair: value for pair, value in zip(need.kept, values, strict=True) if value is not None},
            {key: _fields(fields) for key, fields in zip(need.sessions, sessions, strict=True)},
            found,
        )

    def apply(self, partition: int, previous_hash: str, writes: Writes) -> None:
        """See Store."""
        arguments: list[str | int] = [writes.first_seq, writes.last_seq, previous_hash, _changes(writes)]
        self._run(self._apply, [keys.ledger(partition)], arguments)

    def restore(self, partition: int, parts: Iterable[Writes]) -> None:
        """See Store."""
        ledger, word = keys.ledger(partition), secrets.token_hex(8)
        self._run(self._restore, [ledger], [word, "begin"])
        for part in parts:
            self._run(self._restore, [ledger], [word, "end" if part.head else "part", _changes(part)])

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


def _changes(writes: Writes) -> str:
    """Return what changes.lua writes."""
    sessions = [(key, keys.expiry_s(day), *rest) for key, (day, *rest) in writes.sessions.items()]
    seen = [
        (day, bucket, keys.expiry_s(expires_day), list(map(str, numbers)))  # as text: Lua's numbers are doubles
        for (day, bucket), (expires_day, numbers) in writes.seen.items()
    ]
    return json.dumps((writes.head, writes.accounts, writes.kept, sessions, seen))


def _unavailable(error: Exception) -> ViewUnavailableError:
    return ViewUnavailableError(f"Redis: {type(error).__name__}: {str(error)[:200]}")


def _fields(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))

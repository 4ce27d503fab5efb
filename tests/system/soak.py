"""Hours of real processes under random faults, and then the books: run it as a program.

python tests/system/soak.py --minutes 45 --records 1000000 --faults 200 --dir /tmp/soak

Two charge processes, one mediate, a broker and a Redis of their own. One seed decides records and faults. The end is a
difference in micro-units between what was sent, worked out on paper, and ledger and Redis: it must be 0. A run that was
cut off goes on in the same folder; what was sent and not written down is sent again, and is then a duplicate.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from answers import Answers
from charging_traffic import account_name, command
from harness import Deployment, Worker
from soak_traffic import Traffic, bill, document, poison

from consumers.audit.verify import verify
from pipeline.adapters.avro import ACCOUNT_COMMAND, CATALOGUE_VERSION
from pipeline.adapters.crash_points import POINTS
from pipeline.adapters.kafka.client import producer
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.ledger_codec import decode_event
from pipeline.adapters.store.redis import RedisStore
from pipeline.domain.catalogue import canonical_bytes, compile_catalogue
from pipeline.topics import ACCOUNT_COMMAND as COMMANDS
from pipeline.topics import AUDIT, CATALOGUE, USAGE_DEAD_LETTER, USAGE_RECEIVED, partition_of

RECOVERY_MAX_S: Final = 180
KINDS: Final = (
    "kill charge", "kill charge", "kill mediate", "crash point", "crash point", "stop charge", "stop mediate",
    "cut redis", "wipe redis", "kill redis", "half a script", "stop redis", "kill broker", "stop broker",
)  # fmt: skip


class Soak:
    """One run on one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.dir
        self.folder.mkdir(parents=True, exist_ok=True)
        self._state_file = self.folder / "soak.json"
        fresh = {"sent": 0, "began_ms": int(time.time() * 1000), "faults": {}, "recovery_s": [], "ran_s": 0.0}
        self.state: dict[str, Any] = (
            json.loads(self._state_file.read_text()) if self._state_file.exists() else {**fresh, "seed": options.seed}
        )
        self.traffic = Traffic(self.state["seed"], self.state["began_ms"], options.accounts)
        self.chance = random.Random(f"{options.seed}:{self.state['ran_s']}")
        self.deployment = Deployment(self.folder / "data", options.partitions)
        self.settings = self.deployment.settings
        self.answers = Answers(self.settings)
        self.live: dict[str, Worker] = {}
        self.restarts = 0
        self._undelivered = 0
        self._stopping = threading.Event()
        self._broken: BaseException | None = None

    # --- traffic ---

    def open_accounts(self) -> None:
        """Publish tariff and accounts; again is no harm."""
        out = producer(self.settings)
        version = compile_catalogue(document())
        value = {"hash": version.hash, "effective_from": 0, "published_at": 0}
        text = canonical_bytes(document()).decode()
        out.produce(CATALOGUE.name, CATALOGUE_VERSION.encode({**value, "document": text}), version.hash)
        for number in range(self.options.accounts):
            name = account_name(number)
            body = ACCOUNT_COMMAND.encode(command("open_account", f"open-{name}", number))
            out.produce(COMMANDS.name, body, name, partition_of(name, self.options.partitions))
        assert out.flush(60) == 0

    def publish(self) -> None:
        """Send records evenly until all are sent; a thread of its own."""
        try:
            self._publish()
        except BaseException as error:
            self._broken = error
            raise

    def _publish(self) -> None:
        out = producer(self.settings)
        rate = self.options.records / (self.options.minutes * 60 * 0.9)
        begun, first = time.monotonic(), self.state["sent"]
        while self.state["sent"] < self.options.records and not self._stopping.is_set():
            due = min(first + int((time.monotonic() - begun) * rate), self.options.records)
            for n in range(self.state["sent"], due):
                for value, key in self.traffic.values(n):
                    while len(out) > 50_000:
                        out.poll(0.1)
                    out.produce(USAGE_RECEIVED.name, value, key or None, on_delivery=self._delivered)
                self.state["sent"] = n + 1
            out.poll(0.2)
        assert out.flush(300) == 0

    def _delivered(self, error: Any, _message: Any) -> None:
        self._undelivered += error is not None

    # --- processes ---

    def start(self, name: str, crash_at: str = "") -> Worker:
        """Start a process of this name, in place of the one before."""
        self.live[name] = self.deployment.start_worker(name, crash_at, name.partition("-")[0])
        del self.deployment.workers[:-20]
        return self.live[name]

    def tend(self) -> None:
        """Start again what has ended by itself, as a supervisor does."""
        for name, worker in list(self.live.items()):
            if worker.process.poll() is not None:
                self.restarts += 1
                self.start(name)

    def wait(self, done: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Wait, tending processes; returns the seconds it took."""
        begun = time.monotonic()
        while not done():
            self.tend()
            if time.monotonic() - begun > timeout_s:
                logs = "\n".join("\n".join(w.log.read_text().splitlines()[-5:]) for w in self.live.values())
                raise AssertionError(f"{what}: not within {timeout_s:g} s; {self.answers.trouble}\n{logs}")
            time.sleep(0.1)
        return time.monotonic() - begun

    # --- faults ---

    def fault(self) -> None:
        """Break one thing, mend it as a supervisor or an operator's machine would, and see the pipeline come back."""
        kind = self.chance.choice(KINDS)
        begun = getattr(self, f"_{kind.replace(' ', '_')}")()
        self.state["faults"][kind] = self.state["faults"].get(kind, 0) + 1
        took = time.monotonic() - begun + self.wait(self.answers.mark(), RECOVERY_MAX_S, f"after {kind}")
        if kind in ("kill charge", "kill mediate", "crash point"):
            self.state["recovery_s"].append(round(took, 2))

    def _one(self, process: str) -> tuple[str, Worker]:
        name = self.chance.choice([name for name in self.live if name.startswith(process)])
        return name, self.live[name]

    def _kill(self, process: str) -> float:
        name, worker = self._one(process)
        worker.kill()
        begun = time.monotonic()
        time.sleep(self.chance.choice((0, 0.5, 2)))
        self.start(name)
        return begun

    def _kill_charge(self) -> float:
        return self._kill("charge")

    def _kill_mediate(self) -> float:
        return self._kill("mediate")

    def _crash_point(self) -> float:
        point = self.chance.choice(POINTS)
        name, worker = self._one(point.partition(".")[0])
        worker.kill()
        worker = self.start(name, f"{point}:{self.chance.randint(1, 6)}:kill")
        deadline = time.monotonic() + 12
        while worker.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        worker.kill()  # a point it did not come by: it dies here
        begun = time.monotonic()
        self.start(name)
        return begun

    def _stop(self, process: str) -> float:
        _, worker = self._one(process)
        worker.sleep()
        time.sleep(self.chance.uniform(1, 9))
        worker.wake()
        return time.monotonic()

    def _stop_charge(self) -> float:
        return self._stop("charge")

    def _stop_mediate(self) -> float:
        return self._stop("mediate")

    def _cut_redis(self) -> float:
        self.deployment.kill_redis()
        (file,) = sorted((self.folder / "data" / "redis").glob("appendonlydir/*.incr.aof"))[-1:]
        self.deployment.cut_redis(self.chance.randrange(max(min(file.stat().st_size // 2, 3_000_000), 1)))
        self.deployment.start_redis()
        return time.monotonic()

    def _wipe_redis(self) -> float:
        self.deployment.wipe_redis()
        return time.monotonic()

    def _kill_redis(self) -> float:
        self.deployment.kill_redis()
        time.sleep(self.chance.uniform(0, 3))
        self.deployment.start_redis()
        return time.monotonic()

    def _half_a_script(self) -> float:
        self.deployment.break_scripts()
        time.sleep(self.chance.uniform(0.5, 3))
        self.deployment.mend_scripts()
        return time.monotonic()

    def _stop_redis(self) -> float:
        return self._freeze(self.deployment.redis.pid)

    def _stop_broker(self) -> float:
        return self._freeze(self.deployment.kafka.pid)

    def _freeze(self, pid: int) -> float:
        import os
        import signal

        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(1, 6))
        os.kill(pid, signal.SIGCONT)
        return time.monotonic()

    def _kill_broker(self) -> float:
        self.deployment.kill_broker()
        time.sleep(self.chance.uniform(0, 2))
        self.deployment.start_broker()
        return time.monotonic()

    # --- the run ---

    def run(self) -> None:
        """Open, send, break, drain, hold the books against the paper."""
        self.open_accounts()
        self.start("charge-0"), self.start("charge-1")
        self.wait(self.answers.mark(), 120, "opening accounts") if not self.state["sent"] else None
        self.start("mediate-0")
        publisher = threading.Thread(target=self.publish, daemon=True)
        begun, told, before_s = time.monotonic(), 0.0, self.state["ran_s"]
        publisher.start()
        try:
            while self._unfinished(publisher):
                assert self._broken is None, self._broken
                self.fault()
                time.sleep(self.chance.uniform(0, 4))
                self.state["ran_s"] = before_s + time.monotonic() - begun
                if time.monotonic() - told > 60:
                    told = time.monotonic()
                    self.tell()
        finally:
            self._stopping.set()
            self._state_file.write_text(json.dumps(self.state))
        publisher.join()
        assert self._undelivered == 0, f"{self._undelivered} records were not taken by the broker"
        self.wait(self.answers.all, 600, "the end")
        self.tell()

    def _unfinished(self, publisher: threading.Thread) -> bool:
        enough = sum(self.state["faults"].values()) >= self.options.faults
        return publisher.is_alive() or not enough or self.state["ran_s"] < self.options.minutes * 60

    def tell(self) -> None:
        """One line of progress, and the state on disk."""
        self._state_file.write_text(json.dumps(self.state))
        recovery = sorted(self.state["recovery_s"]) or [0.0]
        print(
            f"{time.strftime('%H:%M:%S')} {self.state['ran_s'] / 60:.1f} min, {self.state['sent']} records, "
            f"{sum(self.state['faults'].values())} faults, recovery after a kill p50 {_part(recovery, 0.5):.1f} s "
            f"p99 {_part(recovery, 0.99):.1f} s max {recovery[-1]:.1f} s, {self.restarts} ended by themselves",
            flush=True,
        )

    def check(self) -> bool:
        """Hold ledger and view against the paper; prints what was found, returns whether all is right."""
        records = self.state["sent"]
        paper = bill(self.traffic, records)
        balances: dict[str, int] = {}
        charged, kinds, origins = bytearray(records), Counter[str](), set[tuple[int, int]]()
        twice = 0
        for partition in range(self.options.partitions):
            with FollowingReader.from_beginning(self.settings, [(AUDIT.name, partition)]) as reader:
                for record in reader.read_to_end(60):
                    assert record.value is not None
                    event = decode_event(record.value).event
                    kinds[event.kind] += 1
                    if event.account_seq:
                        balances[event.account] = event.balance_after_micros
                    if event.usage is not None:
                        origins.add((event.usage.source_partition, event.usage.source_offset))
                    if event.usage is not None and event.kind == "CHARGED":
                        n = int(event.event_id, 16)
                        twice += charged[n]
                        charged[n] = 1
        letters, poisoned = self._dead_letters()
        raw = {(p, o) for p, end in self.answers.ends(USAGE_RECEIVED.name).items() for o in range(end)}
        store = RedisStore(self.settings)
        try:
            view = {
                name: int(store.account(partition_of(name, self.options.partitions), name).get("balance", "0"))
                for name in paper.balances_micros
            }
        finally:
            store.close()
        report = verify(self.settings)
        off_ledger = sum(abs(balances.get(name, 0) - want) for name, want in paper.balances_micros.items())
        off_view = sum(abs(view[name] - want) for name, want in paper.balances_micros.items())
        found = {
            "difference between paper and ledger, micro-units": off_ledger,
            "difference between paper and Redis, micro-units": off_view,
            "records charged twice": twice,
            "records never charged": sum(a != b for a, b in zip(charged, paper.valid, strict=True)),
            "raw offsets without an answer": len(raw - origins - letters),
            "poison without a dead letter, or the reverse": len(poisoned ^ {poison(n) for n in paper.poisoned}),
            "breach of the audit": 0 if report.ok else 1,
        }
        for what, count in found.items():
            print(f"{what}: {count}")
        if not report.ok:
            print(report.breach)
        print(f"raw records {len(raw)}, poison {len(paper.poisoned)}, events {dict(kinds)}")
        print(f"faults {self.state['faults']}")
        return not any(found.values())

    def _dead_letters(self) -> tuple[set[tuple[int, int]], set[bytes]]:
        places, values = set(), set()
        with FollowingReader.from_beginning(self.settings, [(USAGE_DEAD_LETTER.name, 0)]) as reader:
            for record in reader.read_to_end(60):
                said = dict(record.headers)
                places.add((int(said["source_partition"] or b""), int(said["source_offset"] or b"")))
                values.add(record.value or b"")
        return places, values


def _part(ordered: list[float], part: float) -> float:
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def main() -> int:
    """Run one soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--faults", type=int, default=200, help="at least so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--dir", type=Path, default=None, help="goes on there where a run was cut off")
    options = parser.parse_args()
    options.dir = options.dir or Path(tempfile.mkdtemp(prefix="chargeline-soak-"))
    print(f"soak in {options.dir}, seed {options.seed}", flush=True)
    soak = Soak(options)
    try:
        soak.run()
        right = soak.check()
    finally:
        soak.deployment.close()
    print("all is right" if right else "SOMETHING IS WRONG")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

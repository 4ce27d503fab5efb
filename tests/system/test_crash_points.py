"""Every crash point with every fault, on a real broker and a real Redis: after each, the books are checked whole.

A process of the point's kind is made to die there, or to stop there while something else breaks, and goes on. One
deployment serves all cells; its ledger grows, and every cell's end checks all of it.
"""

import time
from collections.abc import Iterator

import pytest
from answers import Answers
from harness import Deployment, Worker, deployment, wait_until

from consumers.audit.verify import verify
from deploy.local.process import LocalServerError
from pipeline.adapters.crash_points import POINTS

pytestmark = [pytest.mark.system, pytest.mark.faults]

FAULTS = ("kill", "cut redis", "wipe redis", "half a script", "restart broker", "sleep")
LONG = FAULTS[3:]
"""Run by `make matrix` only: each of these waits for sessions, brokers or a time-out."""
RECORDS = 60
SESSION_S = 6
PASSES = 2
RECOVERY_MAX_S = 60
NAMES = {"charge": "charge-a", "mediate": "mediate-a"}


class Matrix:
    """The deployment that all cells share, the processes that live on it, and what each cell came to."""

    def __init__(self, made: Deployment) -> None:
        self.made = made
        self.answers = Answers(made.settings)
        self.live: dict[str, Worker] = {}
        self.seconds: dict[tuple[str, str], float] = {}

    def start(self, name: str, crash_at: str = "") -> Worker:
        """Start a process, ending whoever has its name as a power cut does."""
        if name in self.live:
            self.live[name].kill()
        self.live[name] = self.made.start_worker(name, crash_at, name.partition("-")[0])
        return self.live[name]

    def stop(self, name: str) -> None:
        self.live.pop(name).end()

    def send(self, records: int = RECORDS) -> None:
        """Half as mediate hands them on, half as probes send them; every number is a record of its own."""
        self.made.publish(records // 2, top_ups=4)
        self.made.publish_raw(records - records // 2)

    def drained(self) -> bool:
        """Whether nothing waits; processes that ended by themselves are started again."""
        for name, worker in list(self.live.items()):
            if worker.process.poll() is not None:
                self.start(name)
        return self.answers.all()

    def drain(self) -> float:
        """Wait for that; returns the seconds it took."""
        begun = time.monotonic()
        logs = lambda: "\n".join(w.log.read_text()[-1_500:] for w in self.live.values())  # noqa: E731
        wait_until(self.drained, RECOVERY_MAX_S, logs)
        return time.monotonic() - begun

    def check(self) -> None:
        """Hold everything against what was sent, and by the auditor."""
        self.made.check()
        report = verify(self.made.settings)
        assert report.ok, report.breach


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Matrix]:
    import os

    try:
        held = deployment(tmp_path_factory.mktemp("points") / "data", partitions=2)
        made = held.__enter__()
    except LocalServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no servers here: {error}")
    try:
        made.small_batches = True
        made.open_accounts()
        matrix = Matrix(made)
        matrix.start(NAMES["charge"])
        matrix.drain()
        yield matrix
        with pytestconfig.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
            print("", *table(matrix.seconds), sep="\n")
    finally:
        held.__exit__(None, None, None)


def table(seconds: dict[tuple[str, str], float]) -> list[str]:
    """One line a point: the seconds until nothing waited any more, - where a cell did not come to its end."""
    lines = [f"{'seconds to recover':30}" + "".join(f"{fault:>16}" for fault in FAULTS)]
    for point in POINTS:
        cells = (seconds.get((point, fault)) for fault in FAULTS)
        lines.append(f"{point:30}" + "".join(f"{'-' if took is None else f'{took:.1f}':>16}" for took in cells))
    killed = sorted(took for (_, fault), took in seconds.items() if fault == "kill")
    if killed:
        lines.append(f"after a kill: median {killed[len(killed) // 2]:.1f} s, worst {killed[-1]:.1f} s")
    return lines


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("fault", [pytest.param(f, marks=pytest.mark.long) if f in LONG else f for f in FAULTS])
def test_a_fault_at_a_point(matrix, fault, point):
    """Whatever breaks while a process is at this point: nothing is lost, nothing is charged twice, and it goes on."""
    name = NAMES[point.partition(".")[0]]
    if NAMES["mediate"] not in matrix.live:
        matrix.start(NAMES["mediate"])
    if fault == "sleep":  # who is to take over is there already
        other = name.replace("-a", "-b")
        if other not in matrix.live:
            matrix.start(other)
    if point == "charge.after_replay_chunk":
        matrix.live[name].kill()
        matrix.made.wipe_redis()
    worker = matrix.start(
        name, f"{point}:{PASSES if point != 'charge.on_revoke' else 1}:{'kill' if fault == 'kill' else 'stop'}"
    )
    matrix.send()
    bring_to(matrix, worker, point)
    took = FAULT[fault](matrix, worker)
    matrix.seconds[point, fault] = took + matrix.drain()
    matrix.check()


def bring_to(matrix: Matrix, worker: Worker, point: str) -> None:
    """Wait until the process has died or stopped at the point; records keep coming, so that it passes."""
    deadline = time.monotonic() + RECOVERY_MAX_S
    asked = False
    while worker.process.poll() is None and not worker.sleeps():
        assert time.monotonic() < deadline, f"{point} was never reached: {worker.log.read_text()[-1_500:]}"
        if point == "charge.on_revoke" and not asked and worker.said("took_over"):
            worker.process.terminate()
            asked = True
        time.sleep(0.05)
    assert [line["point"] for line in worker.said("crash_point_reached")][-1:] == [point]


def kill(matrix: Matrix, worker: Worker) -> float:
    worker.process.wait()
    matrix.start(worker.name)
    return 0


def cut_redis(matrix: Matrix, worker: Worker) -> float:
    matrix.made.kill_redis()
    matrix.made.cut_redis(3_000)
    matrix.made.start_redis()
    worker.wake()
    return 0


def wipe_redis(matrix: Matrix, worker: Worker) -> float:
    matrix.made.wipe_redis()
    worker.wake()
    return 0


def half_a_script(matrix: Matrix, worker: Worker) -> float:
    """Redis refuses in the middle of an apply, which leaves half of a batch in the view; later it obeys again."""
    matrix.made.break_scripts()
    charge = matrix.live[NAMES["charge"]]
    before = len(charge.said("take_over_again"))
    worker.wake()
    matrix.send(20)
    refused = lambda: any("sadd" in line["why"] for line in charge.said("take_over_again")[before:])  # noqa: E731
    wait_until(lambda: refused() or charge.process.poll() is not None, 30, charge.log.read_text)
    matrix.made.mend_scripts()
    return 0


def restart_broker(matrix: Matrix, worker: Worker) -> float:
    matrix.made.kill_broker()
    worker.wake()
    matrix.made.start_broker()
    return 0


def sleep(matrix: Matrix, worker: Worker) -> float:
    """It sleeps beyond its session; another takes its work, all of it; then it wakes and believes that it owns it."""
    begun = time.monotonic()
    time.sleep(SESSION_S)
    matrix.drain()
    took = time.monotonic() - begun
    worker.wake()
    matrix.send(20)
    return took


FAULT = dict(zip(FAULTS, (kill, cut_redis, wipe_redis, half_a_script, restart_broker, sleep), strict=True))

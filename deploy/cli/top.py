# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline top`: the pipeline at work, on one screen."""

import time
from collections import Counter, deque
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.context import DataDir, settings_of_servers

if TYPE_CHECKING:
    from deploy.cli.top_screen import Screen
    from pipeline.settings import Settings

DOES: Final = {
    "mediate": "finds each account",
    "charge": "prices, keeps the books",
    "detect": "looks for the abnormal",
}
_END_WAIT_S: Final = 30.0


def top(
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, metavar="SECONDS", help="How often the screen is drawn anew.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show one screen and end.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Watch the pipeline at work, on one screen.

    What each process does, how much waits for it, how fast it goes; dead letters and the latest alerts. Ctrl-C ends it.

    \b
    Examples:
      chargeline top
      chargeline top --once --interval 5
    """
    from rich.console import Console
    from rich.live import Live

    from deploy.cli.top_screen import draw

    settings = settings_of_servers(data_dir)
    console = Console()
    with closing(Watch(settings)) as watch:
        watch.look()
        if once or not console.is_terminal:
            time.sleep(interval)
            console.print(draw(watch.look()))
            return
        with Live(draw(watch.look()), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(draw(watch.look()), refresh=True)


class Watch:
    """Looks again and again, and remembers how fast things went. Changes nothing."""

    def __init__(self, settings: "Settings") -> None:
        from deploy.cli.top_screen import ALERTS_SHOWN, HISTORY
        from pipeline.adapters.kafka.reader import FollowingReader
        from pipeline.adapters.kafka.topics import describe_topics
        from pipeline.adapters.progress import ProgressReader
        from pipeline.adapters.store.redis import RedisStore
        from pipeline.topics import ALERT_RAISED, USAGE_DEAD_LETTER

        facts = describe_topics(settings)
        self._settings = settings
        self._open = ExitStack()
        store = self._open.enter_context(closing(RedisStore(settings)))
        self._progress = self._open.enter_context(closing(ProgressReader(settings, store)))
        places = [
            (topic.name, partition)
            for topic in (ALERT_RAISED, USAGE_DEAD_LETTER)
            for partition in range(facts[topic.name].partitions)
        ]
        self._reader = self._open.enter_context(closing(FollowingReader.from_beginning(settings, places)))
        self._rates: dict[str, deque[int]] = {name: deque(maxlen=HISTORY) for name in DOES}
        self._before: tuple[float, dict[str, int]] | None = None
        self._dead_letters: Counter[str] = Counter()
        self._alerts: deque[dict[str, object]] = deque(maxlen=ALERTS_SHOWN)

    def look(self) -> "Screen":
        """Ask once and return the screen; raises what the broker or Redis refuse with."""
        from datetime import UTC, datetime

        from deploy.cli.operate import processes_of
        from deploy.cli.top_screen import AlertLine, Screen, Stage
        from pipeline.adapters.ledger_codec import iso_time

        found, now = self._progress.read(), time.monotonic()
        done = {"mediate": found.mediate_done, "charge": found.charge_done, "detect": found.detect_done}
        if self._before is not None:
            began, before = self._before
            for name, count in done.items():
                self._rates[name].append(max(round((count - before[name]) / (now - began)), 0))
        self._before = now, done
        self._read_new()
        known = processes_of(self._settings)
        waiting = {"mediate": found.mediate_lag, "charge": found.charge_lag, "detect": found.detect_lag}
        stages = tuple(
            Stage(name, does, waiting[name], tuple(self._rates[name]), *known.get(name, ("not started here", None)))
            for name, does in DOES.items()
        )
        return Screen(
            datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            self._settings.kafka.bootstrap_servers or "",
            stages,
            found.drained,
            found.charge_done,
            dict(self._dead_letters),
            tuple(
                AlertLine(iso_time(int(str(alert["opened_at"]))), *(str(alert[n]) for n in AlertLine._fields[1:]))
                for alert in self._alerts
            ),
        )

    def _read_new(self) -> None:
        from pipeline.adapters.avro import ALERT
        from pipeline.adapters.kafka.dead_letters import dead_letter_of
        from pipeline.topics import ALERT_RAISED

        for record in self._reader.read_to_end(_END_WAIT_S):
            if record.topic == ALERT_RAISED.name:
                self._alerts.append(ALERT.decode(record.value or b""))
            else:
                self._dead_letters[dead_letter_of(record).reason or "other"] += 1

    def close(self) -> None:
        """Leave the broker and Redis."""
        self._open.close()

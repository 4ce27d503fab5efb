"""silent_source: a source that always sends has stopped.

Definition: nothing from a source for much longer than its longest pause at this time of day, and than half an hour,
while the clock went on. Source: supervision of probes; a missing file is worse than a wrong one.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, MINUTE_MS, Episode
from pipeline.domain.detectors.finding import CRITICAL, Finding
from pipeline.domain.detectors.part import NOTHING, SOURCE, Hit, Step, closing, say
from pipeline.domain.detectors.use import Use

SILENT_SOURCE: Final = "silent_source"
_HOURS: Final = 24


class Parameters(NamedTuple):
    """What operators may set.

    `silent_ms`: a shorter pause is none; `times_usual`: and so many times the longest pause of these hours;
    `grace_ms`: a source known for less says nothing, nor does one that sends fewer than `records_an_hour` on average.
    """

    silent_ms: int = 30 * MINUTE_MS
    times_usual: int = 4
    grace_ms: int = DAY_MS
    records_an_hour: int = 20


class State(NamedTuple):
    """When a source was first and last heard, by which record; the longest pause begun in each hour of day."""

    seen: int
    episode: Episode | None
    since: int
    last: int
    records: int
    record_id: str
    pauses: tuple[int, ...]


class SilentSource:
    """See the module. Besides records it needs the time: see `tick`."""

    name = SILENT_SOURCE
    view = SOURCE
    kept_ms = 7 * DAY_MS
    quiet_ms = 7 * DAY_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the source."""
        return use.usage.source

    def step(self, state: State | None, use: Use) -> Step:
        """Hear the source."""
        clock, record_id = use.clock, use.usage.record_id
        if state is None:
            return State(clock, None, clock, clock, 1, record_id, (0,) * _HOURS), NOTHING
        pause, hour = clock - state.last, state.last % DAY_MS // HOUR_MS
        pauses, episode, found = state.pauses, state.episode, NOTHING
        if pause > pauses[hour]:
            if episode is None and self._is_silent(state, clock):
                episode, found = self._said(use.usage.source, state, clock)
            if episode is None:
                pauses = (*pauses[:hour], pause, *pauses[hour + 1 :])
        if episode is not None:
            found = (*found, closing(SILENT_SOURCE, episode, clock))
        return State(clock, None, state.since, clock, state.records + 1, record_id, pauses), found

    def tick(self, key: str, state: State, clock: int) -> Step:
        """Look at a source from which nothing came; called as the clock goes on."""
        if state.episode is not None or not self._is_silent(state, clock):
            return state, NOTHING
        episode, found = self._said(key, state, clock)
        return state._replace(episode=episode), found

    def _is_silent(self, state: State, clock: int) -> bool:
        rules, pause = self._parameters, clock - state.last
        if pause < rules.silent_ms or state.last - state.since < rules.grace_ms:
            return False
        if state.records * HOUR_MS < rules.records_an_hour * (state.last - state.since):
            return False
        hour = state.last % DAY_MS // HOUR_MS
        usual = max(state.pauses[hour - 1], state.pauses[hour], state.pauses[(hour + 1) % _HOURS])
        return pause >= rules.times_usual * usual

    def _said(self, key: str, state: State, clock: int) -> tuple[Episode, tuple[Finding, ...]]:
        pause = clock - state.last
        hit = Hit(
            f"source-{key}",
            "",
            CRITICAL,
            1_000 * pause // self._parameters.silent_ms,
            (state.record_id,),
            {"last_at": state.last, "silent_ms": pause, "usual_pause_ms": state.pauses[state.last % DAY_MS // HOUR_MS]},
            "Look at the probe and its transfer; what it kept is charged when it comes.",
        )
        return say(SILENT_SOURCE, None, hit, clock, HOUR_MS)

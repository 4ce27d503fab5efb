"""What a detector is to the engine: a name, a key, a step from state to state; and how it speaks."""

from typing import Any, Final, NamedTuple, Protocol

from pipeline.domain.detectors.event_time import Episode, Log, window_name
from pipeline.domain.detectors.finding import CLOSE, INFO, NO_SCORE, OPEN, UPDATE, Finding, ratio
from pipeline.domain.detectors.use import Use

State = Any
"""A named tuple of integers, texts and tuples of them, with `seen` (the clock when it was last touched) and
`episode`: small, frozen, and JSON as it stands.
"""
Step = tuple[State | None, tuple[Finding, ...]]
NOTHING: Final[tuple[Finding, ...]] = ()
EVIDENCE_MAX: Final = 50
"""Record ids in one finding: the newest ones."""
LINE: Final = "line"
ACCOUNT: Final = "account"
CALLER: Final = "caller"
RANGE: Final = "range"
IMEI: Final = "imei"
SOURCE: Final = "source"


class Part(Protocol):
    """A detector, or one of its views where it needs more than one key.

    `view` says what the key is of. A state that no record has touched for `kept_ms` of the clock may go, once its alert
    is closed; an open alert that nothing has confirmed for `quiet_ms` is closed. Both are for the engine.
    """

    name: str
    view: str
    kept_ms: int
    quiet_ms: int

    def key(self, use: Use) -> str | None:
        """Return whose state this record belongs to; None: this detector has nothing to do with it."""
        ...

    def step(self, state: State | None, use: Use) -> Step:
        """Return the state after this record, and what it opens or updates. Pure: the same again is the same."""
        ...


class Hit(NamedTuple):
    """What a detector found: about whom, how bad (in thousandths of its limit), with which evidence, what to do."""

    object_: str
    account: str
    severity: str
    score: int
    record_ids: tuple[str, ...]
    detail: dict[str, object]
    action: str


def speak(
    name: str, episode: Episode | None, hit: Hit, use: Use, window_ms: int
) -> tuple[Episode, tuple[Finding, ...]]:
    """Return the alert's episode after a hit at this record's start: see `say`."""
    return say(name, episode, hit, use.start, window_ms, use.charge_id)


def say(
    name: str, episode: Episode | None, hit: Hit, at: int, window_ms: int, charge_id: str = ""
) -> tuple[Episode, tuple[Finding, ...]]:
    """Return the alert's episode after a hit, and the finding that opens it, or updates it where the score doubled.

    The window is named after the stretch of `window_ms` that holds the moment at which it opens.
    """
    if episode is None:
        said = OPEN
        episode = Episode(window_name(at, window_ms), hit.object_, hit.account, at, at, hit.score)
    elif hit.score >= 2 * episode.score:
        said = UPDATE
        episode = episode._replace(last=max(episode.last, at), score=hit.score)
    else:
        return (episode._replace(last=at) if at > episode.last else episode), NOTHING
    finding = Finding(
        detector=name,
        state=said,
        severity=hit.severity,
        object_=episode.object_,
        account=episode.account,
        opened_at=episode.opened_at,
        window=episode.window,
        score=ratio(hit.score, 1_000),
        record_ids=hit.record_ids[-EVIDENCE_MAX:],
        charge_ids=(charge_id,) if charge_id else (),
        detail=hit.detail,
        action=hit.action,
    )
    return episode, (finding,)


def closing(name: str, episode: Episode, clock: int) -> Finding:
    """Return the finding that closes an alert which nothing has confirmed for its quiet time."""
    return Finding(
        detector=name,
        state=CLOSE,
        severity=INFO,
        object_=episode.object_,
        account=episode.account,
        opened_at=episode.opened_at,
        window=episode.window,
        score=NO_SCORE,
        record_ids=(),
        charge_ids=(),
        detail={"last_at": episode.last, "closed_at": clock},
        action="Nothing to do: it has stopped.",
    )


def ids_of(log: Log) -> tuple[str, ...]:
    """Return the record ids of a window, by start."""
    return tuple(entry[3] for entry in log)

"""What is abnormal, injected at a stated strength: 1 is medium. Each has its label; nothing else does."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Final, NamedTuple

from deploy.sample.labelled.draft import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Draft, Sim, call, message
from deploy.sample.labelled.world import CITIES, Line, World, number_of, stranger

DEAR: Final = (
    "+252 63",
    "+881 63",
    "+882 13",
    "+371 90",
    "+960 77",
    "+53 99",
    "+675 7",
    "+247 4",
    "+1 876 55",
    "+224 66",
)
PLAIN: Final = (
    "+371 26",
    "+383 49",
    "+44 7700",
    "+94 71",
    "+355 68",
    "+387 61",
    "+48 79",
    "+250 78",
    "+995 59",
    "+27 83",
)


class Label(NamedTuple):
    """What was injected: the detector that should say so, how strong, when, about what."""

    detector: str
    strength: float
    begin: int
    end: int
    objects: tuple[str, ...]


class Scene:
    """Where injections take place: unused ordinary lines, and one label after the other."""

    def __init__(self, random: Random, world: World, begin: int, days: int, warm_up_days: int) -> None:
        self.random = random
        self.world = world
        self.labels: list[Label] = []
        self.drafts: list[Draft] = []
        self.begin = begin
        self._days = days
        self._warm_up = warm_up_days
        self._free = [line for line in world.lines if line.kind == "person" and not line.joins]
        random.shuffle(self._free)
        self._imsi = 0

    def moment(self, room_ms: int) -> int:
        """Return a moment after the warm-up, by day rather than by night, with so much room before the end."""
        random = self.random
        last = self._days - 1 - room_ms // DAY_MS
        return (
            self.begin + random.randrange(self._warm_up, last) * DAY_MS + random.randrange(7 * 60, 22 * 60) * MINUTE_MS
        )

    def line(self) -> Line:
        """Return an ordinary line that nothing else was done to."""
        return self._free.pop()

    def new_sim(self, cell: str, imei: str) -> Sim:
        """Return a line that was never seen."""
        self._imsi += 1
        return Sim(f"+86157{self.random.randrange(10**8):08d}", f"460995{self._imsi:09d}", imei, cell)

    def label(self, detector: str, strength: float, begin: int, end: int, *objects: str) -> int:
        """Write a label; returns its number."""
        self.labels.append(Label(detector, strength, begin, end, objects))
        return len(self.labels) - 1


def sim_of(line: Line, cell: str | None = None) -> Sim:
    """Return the line's SIM at a cell, its first one where none is given."""
    return Sim(line.msisdn, line.imsi, line.imei, cell or line.cells[0])


def call_velocity(scene: Scene, strength: float) -> None:
    """A robot dials from a stolen line: for some minutes, as fast as it can."""
    random, line = scene.random, scene.line()
    calls, minutes = round(45 * strength), 7
    begin = scene.moment(HOUR_MS)
    label = scene.label("call_velocity", strength, begin, begin + minutes * MINUTE_MS, f"msisdn-{line.msisdn}")
    for _ in range(calls):
        start = begin + random.randrange(minutes * 60) * SECOND_MS
        answered = random.random() < 0.2
        duration = random.randrange(2, 7) * SECOND_MS
        scene.drafts.append(
            call(sim_of(line), line.msc, stranger(random), start, duration, answered=answered, label=label)
        )


def concurrent_calls(scene: Scene, strength: float) -> None:
    """A cloned SIM, or a stolen password: calls that overlap."""
    random, line = scene.random, scene.line()
    begin, calls = scene.moment(4 * HOUR_MS), 2 + round(3 * strength)
    label = scene.label("concurrent_calls", strength, begin, begin + 2 * HOUR_MS, f"msisdn-{line.msisdn}")
    for _ in range(calls):
        start = begin + random.randrange(8 * 60) * SECOND_MS
        duration = random.randrange(15, 50) * MINUTE_MS
        scene.drafts.append(call(sim_of(line), line.msc, stranger(random), start, duration, label=label))


def long_call(scene: Scene, strength: float) -> None:
    """A call that somebody forgot, or keeps open on purpose."""
    random, line = scene.random, scene.line()
    duration = round(300 * strength * random.uniform(0.9, 1.1)) * MINUTE_MS
    begin = scene.moment(duration)
    label = scene.label("long_call", strength, begin, begin + duration, f"msisdn-{line.msisdn}")
    scene.drafts.append(call(sim_of(line), line.msc, stranger(random), begin, duration, label=label))


def irsf_one(scene: Scene, strength: float) -> None:
    """A stolen SIM calls one range for an hour or two."""
    random, line = scene.random, scene.line()
    prefix = random.choice(DEAR if random.random() < 0.5 else PLAIN)
    begin, calls = scene.moment(6 * HOUR_MS), round(30 * strength)
    spread = random.randrange(60, 110) * MINUTE_MS
    label = scene.label("irsf", strength, begin, begin + spread + 20 * MINUTE_MS, f"msisdn-{line.msisdn}")
    for _ in range(calls):
        start = begin + random.randrange(spread)
        duration = random.randrange(80, 420) * SECOND_MS
        scene.drafts.append(call(sim_of(line), line.msc, number_of(random, prefix), start, duration, label=label))


def irsf_many(scene: Scene, strength: float) -> None:
    """An app, or a message, makes many lines call one block of numbers."""
    random = scene.random
    prefix = random.choice(DEAR if random.random() < 0.5 else PLAIN) + f"{random.randrange(1000):03d}"
    begin, spread = scene.moment(6 * HOUR_MS), random.randrange(50, 90) * MINUTE_MS
    range_ = f"range-{prefix.replace(' ', '')}"
    label = scene.label("irsf", strength, begin, begin + spread + 20 * MINUTE_MS, range_)
    for line in random.sample(scene.world.lines, round(30 * strength)):
        for _ in range(random.choice((1, 1, 2))):
            start = begin + random.randrange(spread)
            duration = random.randrange(60, 600) * SECOND_MS
            number = number_of(random, prefix, 12)
            scene.drafts.append(call(sim_of(line), line.msc, number, start, duration, label=label))


def irsf(scene: Scene, strength: float) -> None:
    """One line's burst or many lines': every other one."""
    (irsf_many if scene.random.random() < 0.4 else irsf_one)(scene, strength)


def wangiri(scene: Scene, strength: float) -> None:
    """A few numbers of one block abroad ring once and hang up; some call back."""
    random = scene.random
    block = number_of(random, random.choice(DEAR + PLAIN), 11)[:-3]
    callers = [f"{block}{random.randrange(1000):03d}" for _ in range(random.randrange(1, 5))]
    begin, spread = scene.moment(6 * HOUR_MS), random.randrange(40, 80) * MINUTE_MS
    objects = [f"range-{block}", *(f"msisdn-{number}" for number in callers)]
    label = scene.label("wangiri", strength, begin, begin + spread, *objects)
    silent_about_ringing = random.random() < 0.5
    for line in random.sample(scene.world.lines, round(60 * strength)):
        start, caller = begin + random.randrange(spread), random.choice(callers)
        ring = 0 if silent_about_ringing else random.randrange(800, 3_000)
        scene.drafts.append(
            call(sim_of(line), line.msc, caller, start, ring, incoming=True, answered=False, label=label)
        )
        if random.random() < 0.05:
            back = start + random.randrange(2, 90) * MINUTE_MS
            duration = random.randrange(20, 200) * SECOND_MS
            scene.drafts.append(call(sim_of(line), line.msc, caller, back, duration, label=label))


def sim_box(scene: Scene, strength: float) -> None:
    """A gateway's SIMs call out for others' customers: several on one device, or one that never rests."""
    random, line = scene.random, scene.line()
    single = random.random() < 0.3
    imei = f"35{random.randrange(10**12):012d}0"
    sims = [scene.new_sim(line.cells[0], imei) for _ in range(1 if single else random.randrange(4, 9))]
    begin = scene.moment(2 * DAY_MS)
    objects = [f"imei-{imei}", *(f"msisdn-{sim.msisdn}" for sim in sims)]
    label = scene.label("sim_box", strength, begin, begin + 2 * DAY_MS, *objects)
    for sim in sims:
        for day in range(2):
            for _ in range(round((130 if single else 60) * strength)):
                start = begin + day * DAY_MS + random.randrange(22 * 60) * MINUTE_MS
                answered = random.random() < 0.8
                duration = random.randrange(10, 240) * SECOND_MS
                number = stranger(random)
                scene.drafts.append(call(sim, line.msc, number, start, duration, answered=answered, label=label))


def sms_flood(scene: Scene, strength: float) -> None:
    """A line sends by the hundred: to anybody, or to one number after the other."""
    random, line = scene.random, scene.line()
    count, minutes = round(300 * strength), random.randrange(30, 60)
    begin = scene.moment(2 * HOUR_MS)
    label = scene.label("sms_flood", strength, begin, begin + minutes * MINUTE_MS, f"msisdn-{line.msisdn}")
    first = int(number_of(random, random.choice(PLAIN), 11)[1:]) if random.random() < 0.4 else 0
    for n in range(count):
        other = f"+{first + n}" if first else stranger(random)
        start = begin + n * minutes * MINUTE_MS // count
        scene.drafts.append(message(sim_of(line), other, start, label=label))


def impossible_travel(scene: Scene, strength: float) -> None:
    """A clone of the SIM is used far away while the customer is at home."""
    random, line = scene.random, scene.line()
    there = random.choice([city for city in CITIES if city != line.city])
    begin = scene.moment(4 * HOUR_MS)
    label = scene.label("impossible_travel", strength, begin, begin + 3 * HOUR_MS, f"msisdn-{line.msisdn}")
    gap = round(20 / strength * random.uniform(0.7, 1.3)) * MINUTE_MS
    for n in range(6):
        cell = f"{there}-{random.randrange(40):03d}" if n % 2 else line.cells[0]
        duration = random.randrange(20, 120) * SECOND_MS
        scene.drafts.append(
            call(sim_of(line, cell), line.msc, stranger(random), begin + n * gap, duration, label=label)
        )


def new_device(scene: Scene, strength: float) -> None:
    """Somebody has the number moved to his own SIM and phone, and uses it up."""
    random, line = scene.random, scene.line()
    begin = scene.moment(DAY_MS)
    sim = Sim(line.msisdn, f"460997{random.randrange(10**9):09d}", f"86{random.randrange(10**12):012d}0", line.cells[0])
    calls, spread = max(round(6 * strength), 1), random.randrange(2, 8) * HOUR_MS
    label = scene.label("new_device", strength, begin, begin + spread, f"msisdn-{line.msisdn}")
    dear = random.random() < 0.7
    scene.drafts.append(message(sim, "10086", begin, label=label))
    for _ in range(calls):
        start = begin + 10 * MINUTE_MS + random.randrange(spread)
        number = number_of(random, random.choice(DEAR if dear else PLAIN))
        duration = random.randrange(90, 400) * SECOND_MS
        scene.drafts.append(call(sim, line.msc, number, start, duration, label=label))


FRAUD: Final[dict[str, Callable[[Scene, float], None]]] = {
    "call_velocity": call_velocity,
    "concurrent_calls": concurrent_calls,
    "long_call": long_call,
    "irsf": irsf,
    "wangiri": wangiri,
    "sim_box": sim_box,
    "sms_flood": sms_flood,
    "impossible_travel": impossible_travel,
    "new_device": new_device,
}


class Fault(NamedTuple):
    """Something wrong with a source for a while: which label says so, and how strong it is."""

    kind: str
    source: str
    begin: int
    end: int
    strength: float
    label: int


FAULT_HOURS: Final = {"sequence_gap": 1, "sequence_repeat": 1, "late_share": 3, "silent_source": 3, "implausible": 1}
SEASON: Final = "traffic_season"


def faults(scene: Scene, strengths: tuple[float, ...]) -> Iterator[Fault]:
    """Yield faults of sources, one of each kind and strength, at times that do not touch."""
    random = scene.random
    slots = [(day, hour) for day in range(8, 13) for hour in (9, 13, 17)]
    kinds = [*FAULT_HOURS, SEASON]
    wanted = [(kind, strength) for strength in strengths for kind in kinds]
    sources = ("MSC-1", "MSC-2", "MSC-3", "MSC-4", "SMSC-1", "PGW-1", "PGW-2")
    places = [(source, *slot) for source in sources for slot in slots]
    random.shuffle(places)
    for kind, strength in wanted:
        wanted_source = "MSC" if kind == "implausible" else ""
        source, day, hour = places.pop(next(n for n, place in enumerate(places) if place[0].startswith(wanted_source)))
        begin = scene.begin + day * DAY_MS + hour * HOUR_MS
        length = round((FAULT_HOURS.get(kind, 3)) * (strength if kind == "silent_source" else 1) * 60) * MINUTE_MS
        label = scene.label(kind, strength, begin, begin + length, f"source-{source}")
        yield Fault(kind, source, begin, begin + length, strength, label)

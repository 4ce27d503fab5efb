"""The operator's world: its subscribers, what each is like, who knows whom, and where the cells are."""

import math
from random import Random
from typing import Final, NamedTuple

CITIES: Final = {
    "BJ": (39.90, 116.40),
    "SH": (31.23, 121.47),
    "GZ": (23.13, 113.26),
    "CD": (30.57, 104.07),
    "XA": (34.34, 108.94),
    "WH": (30.59, 114.30),
    "HB": (45.80, 126.53),
    "UQ": (43.83, 87.62),
}
ABROAD: Final = {"20801": (48.86, 2.35), "26202": (52.52, 13.40), "45400": (22.32, 114.17), "52001": (13.76, 100.50)}
CELLS_A_CITY: Final = 40
SOURCES: Final = ("MSC-1", "MSC-2", "MSC-3", "MSC-4", "SMSC-1", "PGW-1", "PGW-2")

PERSON: Final = "person"
HEAVY: Final = "heavy"
COURIER: Final = "courier"
EXPAT: Final = "expat"
TRADER: Final = "trader"
TALKER: Final = "talker"
CALL_CENTRE: Final = "call-centre"
DIALLER: Final = "dialler"
PBX: Final = "pbx"
BULK: Final = "bulk-sender"
METER: Final = "meter"

SHARES: Final = (
    (CALL_CENTRE, 0.0010),
    (DIALLER, 0.0005),
    (PBX, 0.0015),
    (BULK, 0.0006),
    (COURIER, 0.005),
    (TRADER, 0.003),
    (EXPAT, 0.04),
    (TALKER, 0.005),
    (HEAVY, 0.03),
    (METER, 0.02),
)
FAMILY_ABROAD: Final = (
    "+852 9", "+852 6", "+1 626", "+1 415", "+61 4", "+49 15", "+33 6", "+44 79", "+81 90", "+82 10",
    "+65 9", "+84 90", "+66 8", "+63 91", "+234 80", "+216 98", "+53 5", "+224 62", "+7 916", "+39 34",
)  # fmt: skip


class Line:
    """A subscriber's line: number, SIM, phone, the places and people it knows, and how much it is used."""

    __slots__ = ("cells", "city", "contacts", "imei", "imsi", "index", "joins", "kind", "msc", "msisdn", "rate")

    def __init__(self, index: int, msisdn: str, imsi: str, imei: str, kind: str) -> None:
        self.index = index
        self.msisdn = msisdn
        self.imsi = imsi
        self.imei = imei
        self.kind = kind
        self.city = ""
        self.cells: tuple[str, ...] = ()
        self.contacts: list[str] = []
        self.rate = 1.0
        self.joins = 0
        self.msc = ""


class World(NamedTuple):
    """Everybody, by number as well; the cells' places in degrees."""

    lines: list[Line]
    by_number: dict[str, Line]
    cells: dict[str, tuple[float, float]]


def make(random: Random, subscribers: int, half: int) -> World:
    """Return the world of one half of the operator's numbers; the halves share no line."""
    cells = _cells(random)
    kinds = [kind for kind, share in SHARES for _ in range(max(round(share * subscribers), 1))]
    kinds += [PERSON] * (subscribers - len(kinds))
    lines = []
    for n, kind in enumerate(kinds):
        number = 2 * (n * 7 + random.randrange(7)) + half
        line = Line(
            n,
            f"+86139{number:08d}",
            f"460990{number:09d}",
            f"35{random.randrange(10**6):06d}{number % 10**6:06d}0",
            kind,
        )
        line.city = random.choice(list(CITIES)[:6])
        line.cells = tuple(
            f"{line.city}-{random.randrange(CELLS_A_CITY):03d}" for _ in range(random.choice((2, 3, 3, 5)))
        )
        line.msc = f"MSC-{1 + list(CITIES).index(line.city) % 4}"
        line.rate = min(random.lognormvariate(-0.2, 0.7), 6.0) * (4.0 if kind == HEAVY else 1.0)
        line.joins = random.randrange(1, 12) if kind == PERSON and random.random() < 0.01 else 0
        lines.append(line)
    numbers = [line.msisdn for line in lines if line.kind in (PERSON, HEAVY, EXPAT, TALKER, TRADER)]
    for line in lines:
        line.contacts = _contacts(random, line, numbers)
    return World(lines, {line.msisdn: line for line in lines}, cells)


def stranger(random: Random) -> str:
    """Return a number of another operator of the country."""
    return f"+861{random.choice((35, 36, 37, 50, 58, 81, 88))}{random.randrange(10**8):08d}"


def number_of(random: Random, prefix: str, digits: int = 11) -> str:
    """Return a number of this prefix (blanks are for the eye), of so many digits in all."""
    known = prefix.replace(" ", "")
    room = max(digits + 1 - len(known), 4)
    return known + f"{random.randrange(10**room):0{room}d}"


def _contacts(random: Random, line: Line, numbers: list[str]) -> list[str]:
    count = min(int(random.lognormvariate(2.6, 0.6)) + 4, 80)
    found = [random.choice(numbers) if random.random() < 0.4 else stranger(random) for _ in range(count)]
    if line.kind in (EXPAT, TRADER):
        home = random.choice(FAMILY_ABROAD)
        found[: 3 if line.kind == EXPAT else 8] = [
            number_of(random, home) for _ in range(3 if line.kind == EXPAT else 8)
        ]
    return [number for number in found if number != line.msisdn]


def _cells(random: Random) -> dict[str, tuple[float, float]]:
    found = {}
    for city, (latitude, longitude) in CITIES.items():
        for n in range(CELLS_A_CITY):
            away, angle = random.uniform(0, 25) / 111, random.uniform(0, 2 * math.pi)
            found[f"{city}-{n:03d}"] = (latitude + away * math.sin(angle), longitude + away * math.cos(angle))
    for network, place in ABROAD.items():
        found[f"{network}-1"] = place
    return found

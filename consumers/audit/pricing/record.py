"""One record's price: choose, cut, round up, draw, walk, round."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from consumers.audit.pricing.account import AccountState, SessionPart, meter_text, part_field
from consumers.audit.pricing.allowances import Bucket, Draw, buckets_bought, buckets_left, buckets_of, draw_on
from consumers.audit.pricing.catalogue import Published, Section, in_force
from consumers.audit.pricing.choice import Stretch, stretches
from consumers.audit.pricing.discounts import capped, discount_named, discount_of
from consumers.audit.pricing.exact import counted, micros, rounded
from consumers.audit.pricing.walk import Meter, added_tax, round_up, tariff_of, walk
from pipeline.domain.usage import VOICE, AcceptedUsage, quantity

LINES_MAX: Final = 1_000


class PricedLine(NamedTuple):
    """What the bill must say of one part, or of one bucket that a part drew on. Quantities in ms, octets, messages."""

    rule: str
    plan: str
    catalogue: str
    band: str | None
    prefix: str | None
    quantity: int
    quantity_rounded: int
    allowance: str | None
    allowance_used: int
    amount_micros: int


class Priced(NamedTuple):
    """The price, how it came about, and what the account's fields are afterwards, as the ledger writes them."""

    amount_micros: int
    lines: tuple[PricedLine, ...]
    changes: dict[str, str]
    session_changes: dict[str, str]


class Refused(NamedTuple):
    """Why the record has no price: `no_plan`, `no_tariff`, `currency_mismatch`, `too_large`."""

    reason: str


class _Setting(NamedTuple):
    """What holds for the whole record."""

    usage: AcceptedUsage
    account: AccountState
    plan: Section
    version: Published
    versions: Mapping[str, Published]


class _Part(NamedTuple):
    """A priced stretch with its share of the rounded quantity and what allowances gave of it."""

    stretch: Stretch
    share: int
    draws: Sequence[Draw]
    discount: str | None = None

    @property
    def paid_quantity(self) -> int:
        return max(self.share - sum(drawn.used for drawn in self.draws), 0)


def price(usage: AcceptedUsage, account: AccountState, versions: Sequence[Published]) -> Priced | Refused:
    """Price a record on an account as it stands; nothing is changed."""
    version = in_force(versions, usage.start_time)
    plan_id = account.plan_at(usage.start_time)
    plan = None if version is None or plan_id is None else version.plan(plan_id, usage.start_time)
    if version is None or plan is None:
        return Refused("no_plan")
    cut = stretches(plan, usage, quantity(usage), version)
    if isinstance(cut, int):
        return Refused("no_tariff")
    if (plan["currency"] or version.document["currency"]) != account.currency:
        return Refused("currency_mismatch")
    setting = _Setting(usage, account, plan, version, {v.name: v for v in versions})
    priced = _priced(setting, cut)
    return Refused("too_large") if len(priced.lines) > LINES_MAX else priced


def fixed_price(version: Published, plan: Section, amount: str) -> int:
    """Return what something of a fixed price costs, its tax added, rounded as the catalogue says."""
    tax = added_tax(plan.get("tax") or version.document.get("tax"))
    rounding = version.document["rounding"]
    return rounded(micros(amount) * (1 + tax), int(rounding["decimals"]), str(rounding["mode"]))


def _priced(setting: _Setting, cut: Sequence[Stretch]) -> Priced:
    usage = setting.usage
    unanswered = usage.service == VOICE and not usage.answered
    paying = [stretch for stretch in cut if not stretch.choice.rule["free"] and not unanswered]
    session = bool(paying) and paying[0].choice.rule["meter"] == "session" and usage.session_id is not None
    others = _others(setting) if session else []
    buckets = _buckets(setting)
    parts = []
    for stretch, share in zip(paying, _shares(setting, others, paying), strict=True):
        draws = draw_on(buckets, usage, stretch.start, share, setting.version)
        named = discount_of(setting.plan, stretch.choice.rule, usage, stretch.start, setting.version)
        parts.append(_Part(stretch, share, draws, named))
    changes = {field: value for bucket in buckets for field, value in bucket.changes().items()}
    session_changes: dict[str, str] = {}
    if session:
        amounts = _session_amounts(setting, others, parts)
        session_changes = dict(part_field(_session_part(setting, part)) for part in parts)
    elif paying and paying[0].choice.rule["meter"] in ("day", "month"):
        amounts, meters = _period_amounts(setting, parts)
        changes.update(meters)
    else:
        amounts = _record_amounts(setting, parts)
    lines: list[PricedLine] = []
    priced = iter(zip(parts, amounts, strict=True))
    for stretch in cut:
        if stretch in paying:
            part, amount = next(priced)
            lines += _lines(setting, part, amount)
        else:
            lines += _lines(setting, _Part(stretch, stretch.quantity, ()), 0)
    for cap in capped(setting.account, setting.plan, usage, setting.version, sum(amounts)):
        if cap.taken_micros:
            lines.append(_extra_line(setting, cap.cap, -cap.taken_micros))
        changes[cap.field] = f"{cap.total_micros}"
    for bucket in buckets:
        if bucket.sold_by is not None and bucket.drawn:
            price = fixed_price(setting.version, bucket.sold_by, bucket.definition["price"])
            if price:
                lines.append(_extra_line(setting, bucket.definition["id"], price)._replace(plan=bucket.sold_by["id"]))
    return Priced(sum(line.amount_micros for line in lines), tuple(lines), changes, session_changes)


def _extra_line(setting: _Setting, name: str, amount: int) -> PricedLine:
    return PricedLine(name, setting.plan["id"], setting.version.name, None, None, 0, 0, None, 0, amount)


def _buckets(setting: _Setting) -> list[Bucket]:
    usage, account, plan, version, versions = setting
    found = buckets_of(account, plan, usage, version)
    found += buckets_left(account, plan, usage, version, list(versions.values()))
    found += buckets_bought(account, usage, version)
    return sorted(found, key=Bucket.order)


# --- the path's parts ---


def _place(part: SessionPart) -> tuple[int, int, str]:
    """Return where on a session's path a part stands: by start, partial number, record id."""
    return part.start, part.partial_number, part.record_id


def _others(setting: _Setting) -> list[SessionPart]:
    """Return what is known of the record's session."""
    usage = setting.usage
    assert usage.session_id is not None
    return sorted(setting.account.session(usage.service, usage.session_id), key=_place)


def _session_part(setting: _Setting, part: _Part) -> SessionPart:
    usage, stretch = setting.usage, part.stretch
    return SessionPart(
        stretch.start,
        usage.partial_number or 0,
        usage.record_id,
        stretch.quantity,
        sum(drawn.used for drawn in part.draws),
        stretch.choice.rule["id"],
        setting.plan["id"],
        int(setting.plan["valid_from"]),
        stretch.choice.prefix,
        setting.version.name,
        part.discount,
    )


def _rule_of(setting: _Setting, part: SessionPart) -> tuple[Published, Section, Section]:
    version = setting.versions[part.catalogue]
    plan = version.plan_of(part.plan, part.valid_from)
    return version, plan, next(rule for rule in plan["prices"] if rule["id"] == part.rule)


def _path_shares(setting: _Setting, path: Sequence[SessionPart]) -> list[int]:
    """Round the path's recorded quantity up by its first part's rule: each part has what it adds."""
    if not path:
        return []
    _, _, rule = _rule_of(setting, path[0])
    return _split(rule, [part.recorded for part in path])


def _split(rule: Section, recorded: Sequence[int]) -> list[int]:
    to = None if rule["round_up"] is None else counted(rule["round_up"]["to"], rule["round_up"]["unit"])
    shares, before = [], 0
    for amount in recorded:
        shares.append(round_up(before + amount, to) - round_up(before, to))
        before += amount
    return shares


def _shares(setting: _Setting, others: Sequence[SessionPart], paying: Sequence[Stretch]) -> list[int]:
    """Return the share of the rounded quantity of each of the record's stretches."""
    if not paying:
        return []
    if not others:
        return _split(paying[0].choice.rule, [stretch.quantity for stretch in paying])
    own = [_session_part(setting, _Part(stretch, stretch.quantity, ())) for stretch in paying]
    path = sorted([*others, *own], key=_place)
    shares = dict(zip(map(_place, path), _path_shares(setting, path), strict=True))
    return [shares[_place(part)] for part in own]


# --- what it costs ---


def _session_amounts(setting: _Setting, others: Sequence[SessionPart], parts: Sequence[_Part]) -> list[int]:
    """Return what each part adds to the price of the path, put there one after the other."""
    path = list(others)
    before = _path_meter(setting, path)
    meters = []
    for part in parts:
        path = sorted([*path, _session_part(setting, part)], key=_place)
        meters.append(_path_meter(setting, path))
    return _differences(before, meters)


def _path_meter(setting: _Setting, path: Sequence[SessionPart]) -> Meter:
    meter = Meter()
    for part, share in zip(path, _path_shares(setting, path), strict=True):
        version, plan, rule = _rule_of(setting, part)
        left = max(share - part.taken, 0)
        tariff, discount = tariff_of(version, plan, rule, part.prefix), discount_named(plan, part.discount)
        meter = walk(meter, tariff, left, discount, connects=meter.quantity == 0)
    return meter


def _record_amounts(setting: _Setting, parts: Sequence[_Part]) -> list[int]:
    meters = []
    meter = Meter()
    for part in parts:
        choice = part.stretch.choice
        tariff = tariff_of(setting.version, setting.plan, choice.rule, choice.prefix)
        discount = discount_named(setting.plan, part.discount)
        meter = walk(meter, tariff, part.paid_quantity, discount, connects=meter.quantity == 0)
        meters.append(meter)
    return _differences(Meter(), meters)


def _differences(before: Meter, meters: Sequence[Meter]) -> list[int]:
    """Return what each part adds; the sums between are rounded as the whole path's is, so that they add up to it."""
    amounts, last = [], before.price()
    for meter in meters:
        price = meter._replace(decimals=meters[-1].decimals, mode=meters[-1].mode).price()
        amounts.append(price - last)
        last = price
    return amounts


def _period_amounts(setting: _Setting, parts: Sequence[_Part]) -> tuple[list[int], dict[str, str]]:
    """Walk each rule's own meter of the day or month on; one connect fee a record."""
    amounts, connected = [], False
    meters: dict[str, Meter] = {}
    moved: set[str] = set()
    for part in parts:
        choice = part.stretch.choice
        rule, wall, start = choice.rule, setting.version.wall, setting.usage.start_time
        period = wall.day(start).isoformat() if rule["meter"] == "day" else wall.month(start)
        field = f"meter:{setting.plan['id']}:{rule['id']}:{period}"
        before = meters.get(field) or setting.account.meter(setting.plan["id"], rule["id"], period)
        tariff = tariff_of(setting.version, setting.plan, rule, choice.prefix)
        discount = discount_named(setting.plan, part.discount)
        after = before
        if part.paid_quantity:
            after = walk(before, tariff, part.paid_quantity, discount, connects=not connected)
            connected = True
        amounts.append(after.price() - before.price())
        meters[field] = after
        if after != before:
            moved.add(field)
    return amounts, {field: meter_text(meters[field]) for field in moved}


def _lines(setting: _Setting, part: _Part, amount: int) -> list[PricedLine]:
    """Write a part's lines: the first has its quantities and its money, each further bucket one of its own."""
    stretch = part.stretch
    rule = stretch.choice.rule
    line = PricedLine(
        rule["id"],
        setting.plan["id"],
        setting.version.name,
        rule["match"].get("band"),
        stretch.choice.prefix,
        stretch.quantity,
        part.share,
        None,
        0,
        amount,
    )
    if not part.draws:
        return [line]
    lines = [line, *(line._replace(quantity=0, quantity_rounded=0, amount_micros=0) for _ in part.draws[1:])]
    drawn = zip(lines, part.draws, strict=True)
    return [each._replace(allowance=draw.allowance, allowance_used=draw.used) for each, draw in drawn]

"""Plans as the author writes them: prices, allowances, fee; read with the names they may refer to."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pipeline.adapters.catalogue_money import read_caps, read_discounts, read_fees, read_tax
from pipeline.adapters.catalogue_reader import Reader
from pipeline.adapters.catalogue_yaml import Place, Value
from pipeline.domain.allowances import DAY as EVERY_DAY
from pipeline.domain.allowances import MONTH as EVERY_MONTH
from pipeline.domain.catalogue import DECK, TIERS, VOLUME, price_of
from pipeline.domain.matching import DeckCurves, Zone
from pipeline.domain.meter import whole
from pipeline.domain.money import DECIMALS_MAX, ROUNDING_MODES, AmountError
from pipeline.domain.rating import METERS, RECORD, SESSION
from pipeline.domain.units import UNITS, unit_size
from pipeline.domain.usage import DIRECTIONS, SERVICES

Section = dict[str, Any]

MATCH_KEYS: Final = ("service", "direction", "to", "visited", "rating_group", "band", "on_net")
_PAID_KEYS: Final = ("minimum", "maximum", "tax")
_PRIORITY: Final = 1_000_000
_INT_MAX: Final = 2**31 - 1
_DAYS_MAX: Final = 36_500


class Names(NamedTuple):
    """What the catalogue defines and plans may name."""

    zones: Mapping[str, Zone]
    networks: set[str]
    bands: Mapping[str, Any]


def read_plan(value: Value, names: Names, reader: Reader) -> tuple[Section, dict[str, Place]]:
    """Return a plan's section of the document, and the place of each of its rules by id."""
    optional = ("name", "currency", "valid_from", "fee", "tax", "allowances", "prices", "discounts", "caps")
    given = reader.fields(value, "plan", ("id",), optional)
    plan_id = reader.id(given.get("id"), "plan id")
    what = f"plan {plan_id!r}"
    rule_places: dict[str, Place] = {}
    rules = [
        _rule(item, what, names, reader, rule_places) for item in reader.items(given.get("prices"), f"{what}: prices")
    ]
    allowance_places: dict[str, Place] = {}
    allowances = [
        _allowance(item, what, names, reader, allowance_places)
        for item in reader.items(given.get("allowances"), f"{what}: allowances")
    ]

    def match(keys: Value | None, own: str) -> Section:
        return {} if keys is None else _match(reader.fields(keys, f"{own}: match", (), MATCH_KEYS), own, names, reader)

    plan = {
        "id": plan_id,
        "name": _name(given.get("name"), what, reader),
        "currency": _currency(given.get("currency"), what, reader),
        "valid_from": reader.moment_ms(given.get("valid_from"), f"{what}: valid_from"),
        "fees": read_fees(given.get("fee"), what, reader),
        "tax": read_tax(given.get("tax"), what, reader),
        "allowances": allowances,
        "prices": rules,
        "discounts": read_discounts(given.get("discounts"), what, {rule["id"]: rule for rule in rules}, match, reader),
        "caps": read_caps(given.get("caps"), what, match, reader),
    }
    return plan, rule_places


def _name(value: Value | None, what: str, reader: Reader) -> dict[str, str]:
    if value is None:
        return {}
    if value.text is not None:
        return {"en": value.text}
    texts = reader.named(value, f"{what}: name")
    return {language: reader.text(text, f"{what}: name") for language, text in texts.items()}


def _currency(value: Value | None, what: str, reader: Reader) -> str | None:
    if value is None:
        return None
    text = reader.text(value, f"{what}: currency")
    if not (len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()):
        reader.note(value.place, f"{what}: currency is a code of three capital letters like CNY, not {text!r}")
    return text


def _match(fields: Mapping[str, Value], what: str, names: Names, reader: Reader) -> Section:
    """Return the match keys that were given, each checked against what the catalogue defines."""
    match: Section = {}
    if "service" in fields:
        match["service"] = reader.choice(fields["service"], f"{what}: service", SERVICES, "")
    if "direction" in fields:
        match["direction"] = reader.choice(fields["direction"], f"{what}: direction", DIRECTIONS, "MO")
    if "to" in fields:
        match["to"] = reader.choice(fields["to"], f"{what}: to (a zone)", names.zones, "")
    if "visited" in fields:
        match["visited"] = reader.choice(fields["visited"], f"{what}: visited (networks)", names.networks, "any")
    if "rating_group" in fields:
        match["rating_group"] = reader.number(fields["rating_group"], f"{what}: rating_group", 0, 0, _INT_MAX)
    if "band" in fields:
        match["band"] = reader.choice(fields["band"], f"{what}: band", names.bands, "")
    if "on_net" in fields:
        match["on_net"] = reader.flag(fields["on_net"], f"{what}: on_net")
    return match


def rounding_of(value: Value, reader: Reader) -> Section:
    """Return decimals and mode, both said."""
    given = reader.fields(value, "rounding", ("decimals", "mode"), ())
    return {
        "decimals": reader.number(given.get("decimals"), "rounding: decimals", 2, 0, DECIMALS_MAX),
        "mode": reader.choice(given.get("mode"), "rounding: mode", ROUNDING_MODES, ROUNDING_MODES[0]),
    }


def _unit(value: Value | None, what: str, service: str, reader: Reader) -> str | None:
    return reader.choice(value, f"{what}: unit of {service}", UNITS[service], next(iter(UNITS[service])))


def _once(rule_id: str, value: Value, what: str, reader: Reader, places: dict[str, Place]) -> None:
    other = places.setdefault(rule_id, value.place)
    if other is not value.place:
        reader.note(value.place, f"{what}: id {rule_id!r} is there twice; rename one", other)


def _rule(value: Value, plan: str, names: Names, reader: Reader, places: dict[str, Place]) -> Section:
    optional = (
        "priority",
        "free",
        "meter",
        "round_up",
        "unit",
        "tiers",
        "steps",
        "connect_fee",
        "rounding",
        *_PAID_KEYS,
    )
    given = reader.fields(value, f"price rule of {plan}", ("id", "match"), optional)
    rule_id = reader.id(given.get("id"), f"{plan}: id of a price rule")
    what = f"price rule {rule_id!r} of {plan}"
    _once(rule_id, value, f"prices of {plan}", reader, places)
    match: Section = {}
    if "match" in given:
        match = _match(reader.fields(given["match"], f"{what}: match", (), MATCH_KEYS), what, names, reader)
    free = reader.flag(given.get("free"), f"{what}: free")
    service = match.get("service")
    rule: Section = {
        "id": rule_id,
        "match": match,
        "free": free,
        "priority": reader.number(given.get("priority"), f"{what}: priority", 0, -_PRIORITY, _PRIORITY),
        "meter": reader.choice(given.get("meter"), f"{what}: meter", METERS, RECORD),
        "rounding": rounding_of(given["rounding"], reader) if "rounding" in given else None,
        "unit": _unit(given.get("unit"), what, service, reader) if service and "unit" in given else None,
        "connect_fee": reader.amount(given.get("connect_fee"), f"{what}: connect_fee", "0"),
        "minimum": reader.amount(given.get("minimum"), f"{what}: minimum", None),
        "maximum": reader.amount(given.get("maximum"), f"{what}: maximum", None),
        "tiers": reader.choice(given.get("tiers"), f"{what}: tiers", TIERS, TIERS[0]),
        "tax": read_tax(given.get("tax"), what, reader),
        "round_up": None,
        "steps": [],
    }
    if free:
        for key in ("steps", "tiers", *_PAID_KEYS):
            if key in given:
                reader.note(given[key].place, f"{what}: a free rule has no {key}; leave it out, or leave out free")
        if "connect_fee" in given and (rule["connect_fee"] or "0").strip("0."):
            reader.note(given["connect_fee"].place, f"{what}: a free rule has no connect_fee")
        return rule
    for key, present in (("service", bool(service)), ("unit", "unit" in given), ("steps", "steps" in given)):
        if not present:
            reader.note(value.place, f"{what}: a rule with a price says its {key} (or is free: true)")
    if service and "unit" in given and "steps" in given:
        _price(rule, given, what, names, reader)
    return rule


def _price(rule: Section, given: Mapping[str, Value], what: str, names: Names, reader: Reader) -> None:
    """Fill in round_up and steps, and try whether they can be priced."""
    before = len(reader.problems)
    service = rule["match"]["service"]
    if "round_up" in given:
        rule["round_up"] = _round_up(given["round_up"], what, service, rule["unit"], reader)
    steps = reader.items(given["steps"], f"{what}: steps")
    rule["steps"] = [_step(step, what, reader) for step in steps]
    place = given["steps"].place
    decks = [step["price"] == DECK for step in rule["steps"]]
    zone = names.zones.get(rule["match"].get("to", ""))
    if any(decks):
        if len(decks) != 1 or rule["steps"][0]["from"] != "0":
            reader.note(place, f"{what}: 'price: deck' stands in the only step, from 0")
        if zone is None or any(row is None for row in zone.prefixes.values()):
            reader.note(place, f"{what}: 'price: deck' needs a `to` zone with a file")
    if rule["tiers"] == VOLUME and (any(decks) or rule["meter"] == SESSION):
        reader.note(
            given["tiers"].place, f"{what}: volume tiers go with steps of their own and meter record, day or month"
        )
    if len(reader.problems) > before:
        return
    try:
        price = price_of(rule, zone, unit_size(rule["unit"]))
    except AmountError as error:
        reader.note(place, f"{what}: {error}")
        return
    if isinstance(price, DeckCurves):
        _deck_price(price, zone, what, place, reader)


def _deck_price(price: DeckCurves, zone: Zone | None, what: str, place: Place, reader: Reader) -> None:
    """Try the deck's rows, one of each kind: the rates were read already, and have no say in whether they hold."""
    kinds: dict[tuple[str | None, ...], str] = {}
    for prefix, cells in zone.prefixes.items() if zone else ():
        assert cells is not None, "a deck without rows"
        kinds.setdefault(tuple(cells[2:]), prefix)
    for prefix in kinds.values():
        try:
            price.of(prefix)
        except AmountError as error:
            reader.note(place, f"{what}: deck row of {prefix}: {error}")


def _step(value: Value, what: str, reader: Reader) -> Section:
    given = reader.fields(value, f"{what}: step", ("price",), ("from", "per", "increment"))
    price = given.get("price")
    by_deck = price is not None and price.text == DECK
    return {
        "from": reader.decimal(given.get("from"), f"{what}: from", "0"),
        "price": DECK if by_deck else reader.decimal(price, f"{what}: price", "0"),
        "per": reader.decimal(given.get("per"), f"{what}: per", "1"),
        "increment": reader.decimal(given.get("increment"), f"{what}: increment", "1"),
    }


def _round_up(value: Value, what: str, service: str, unit: str, reader: Reader) -> Section | None:
    given = reader.fields(value, f"{what}: round_up", ("to",), ("unit",))
    to = reader.decimal(given.get("to"), f"{what}: round_up: to", "1")
    own = _unit(given["unit"], f"{what}: round_up", service, reader) if "unit" in given else unit
    return {"to": to, "unit": own} if _counted(to, own, value, f"{what}: round_up", reader) else None


def _counted(text: str, unit: str | None, value: Value, what: str, reader: Reader) -> bool:
    """Tell whether this is a whole number of ms, octets or messages, above 0."""
    problem = "it is more than 0"
    try:
        if unit is not None and whole(text, unit_size(unit)) > 0:
            return True
    except AmountError as error:
        problem = str(error)
    reader.note(value.place, f"{what}: {problem}")
    return False


def _allowance(value: Value, plan: str, names: Names, reader: Reader, places: dict[str, Place]) -> Section:
    optional = ("every", "valid_days", "rollover", "prorate", "price", "priority", *MATCH_KEYS[1:])
    given = reader.fields(value, f"allowance of {plan}", ("id", "service", "quantity", "unit"), optional)
    allowance_id = reader.id(given.get("id"), f"{plan}: id of an allowance")
    what = f"allowance {allowance_id!r} of {plan}"
    _once(allowance_id, value, f"allowances of {plan}", reader, places)
    match = _match(given, what, names, reader)
    service = match.get("service") or SERVICES[0]
    quantity = reader.decimal(given.get("quantity"), f"{what}: quantity", "1")
    unit = _unit(given.get("unit"), what, service, reader)
    _counted(quantity, unit, given.get("quantity", value), f"{what}: quantity", reader)
    every = reader.choice(given.get("every"), f"{what}: every", (EVERY_MONTH, EVERY_DAY), "") or None
    days = given.get("valid_days")
    _check_allowance(given, every, what, reader)
    return {
        "id": allowance_id,
        "match": match,
        "quantity": quantity,
        "unit": unit,
        "every": every,
        "valid_days": None if days is None else reader.number(days, f"{what}: valid_days", 1, 1, _DAYS_MAX),
        "priority": reader.number(given.get("priority"), f"{what}: priority", 0, -_PRIORITY, _PRIORITY),
        "rollover": _rollover(given.get("rollover"), quantity, unit, f"{what}: rollover", reader),
        "prorate": reader.flag(given.get("prorate"), f"{what}: prorate"),
        "price": reader.amount(given.get("price"), f"{what}: price", None),
    }


def _check_allowance(given: Mapping[str, Value], every: str | None, what: str, reader: Reader) -> None:
    """Note keys that do not go together."""
    if "price" in given:
        for key in ("rollover", "prorate"):
            if key in given and given[key].text != "false":
                reader.note(given[key].place, f"{what}: what is bought has no {key}; leave out {key} or price")
        if every is not None and "valid_days" not in given:
            reader.note(given["price"].place, f"{what}: a pack that repeats every {every} says its valid_days as well")
    elif "rollover" in given and given["rollover"].text != "false" and every is None:
        reader.note(given["rollover"].place, f"{what}: rollover is from one period to the next; say every")
    if "prorate" in given and given["prorate"].text != "false" and every != EVERY_MONTH:
        reader.note(given["prorate"].place, f"{what}: prorate is of a first month; say every: month")


def _rollover(value: Value | None, quantity: str, unit: str | None, what: str, reader: Reader) -> str | None:
    """Return how much may be left for the next period: all of it where only `true` is said."""
    if value is None:
        return None
    if value.fields is None:
        return quantity if reader.flag(value, what) else None
    given = reader.fields(value, what, ("limit",), ())
    limit = reader.decimal(given.get("limit"), f"{what}: limit", "1")
    _counted(limit, unit, given.get("limit", value), f"{what}: limit", reader)
    return limit

"""Which rule prices which stretch of a record, and what an allowance may be used for."""

from typing import NamedTuple

from consumers.audit.pricing.catalogue import Published, Section
from pipeline.domain.usage import VOICE, AcceptedUsage


class Choice(NamedTuple):
    """A rule, and the prefix of its zone that the number has (None where the rule asks for no zone)."""

    rule: Section
    prefix: str | None


class Stretch(NamedTuple):
    """A part of a record that one rule prices: where it begins (ms) and how much was recorded."""

    start: int
    quantity: int
    choice: Choice


def matches(match: Section, usage: AcceptedUsage, moment: int, version: Published) -> bool:
    """Tell whether a rule's keys all match; what is not there asks nothing, but for `visited`: home."""
    return asks({"visited": "home", **match}, usage, moment, version)


def asks(match: Section, usage: AcceptedUsage, moment: int, version: Published) -> bool:
    """Tell whether every key that is there matches."""
    return (
        match.get("service", usage.service) == usage.service
        and match.get("direction", usage.direction) == usage.direction
        and ("to" not in match or version.longest_prefix(match["to"], usage.other_party) is not None)
        and _visits(match.get("visited", "any"), usage.visited_plmn, version)
        and ("rating_group" not in match or match["rating_group"] == usage.rating_group)
        and ("on_net" not in match or match["on_net"] == usage.on_net)
        and ("band" not in match or version.wall.in_band(match["band"], moment))
    )


def _visits(group: str, plmn: str | None, version: Published) -> bool:
    networks = version.document["networks"]
    home = networks.get("home", ())
    if group == "any":
        return True
    if group == "home":
        return plmn is None or plmn in home
    return plmn is not None and plmn in networks[group]


def choose(plan: Section, usage: AcceptedUsage, moment: int, version: Published) -> Choice | None:
    """Return the rule at this moment: longest prefix, then higher priority, then more keys; None where none matches."""
    best: tuple[tuple[int, int, int], Choice] | None = None
    for rule in plan["prices"]:
        match = rule["match"]
        if not matches(match, usage, moment, version):
            continue
        prefix = version.longest_prefix(match["to"], usage.other_party) if "to" in match else None
        rank = (len(prefix or ""), int(rule["priority"]), len(match))
        if best is None or rank > best[0]:
            best = (rank, Choice(rule, prefix))
    return None if best is None else best[1]


def stretches(plan: Section, usage: AcceptedUsage, quantity: int, version: Published) -> list[Stretch] | int:
    """Cut a record where its rule changes. An int is the moment for which there is no rule.

    Only calls are cut, and of them only those that were answered: any other has one line.
    """
    start = usage.start_time
    first = choose(plan, usage, start, version)
    if first is None:
        return start
    if usage.service != VOICE or not usage.answered:
        return [Stretch(start, quantity, first)]
    found = [Stretch(start, 0, first)]
    moment, end = start, start + quantity
    while moment < end:
        choice = choose(plan, usage, moment, version)
        if choice is None:
            return moment
        edge = min(version.wall.next_edge(moment), end)
        last = found[-1]
        if choice.rule["id"] == last.choice.rule["id"]:
            found[-1] = last._replace(quantity=last.quantity + edge - moment)
        else:
            found.append(Stretch(moment, edge - moment, choice))
        moment = edge
    return found

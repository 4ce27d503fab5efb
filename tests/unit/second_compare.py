"""Charges a random world by the core and prices it by the second implementation; says where they differ."""

from collections import Counter

from second_cases import Case

from consumers.audit.pricing import AccountState, Priced, PricedLine, Published, price
from consumers.audit.pricing.account import canonical
from pipeline.domain.account import Account
from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.rating import Rated, rate


class Tally:
    """What a run of worlds met."""

    def __init__(self):
        self.cases = 0
        self.refused = Counter()
        self.lines = 0
        self.negative = 0
        """charges below zero"""
        self.drawn = 0
        """records that took of an allowance"""
        self.cut = 0
        """records of several rules"""
        self.sessions = 0
        """records of a session that others were known of"""

    def add(self, other):
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def count(self, charged, known):
        self.cases += 1
        if not isinstance(charged, Rated):
            self.refused[charged.reason] += 1
            return
        self.lines += len(charged.lines)
        self.negative += charged.amount_micros < 0
        self.drawn += any(line.allowance_used for line in charged.lines)
        self.cut += len({line.rule for line in charged.lines}) > 1
        self.sessions += bool(known) and bool(charged.session_changes)

    def __str__(self):
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())


def differences(seed, tally, only=None):
    """Yield (case number, what differs) for each record of a world on which the two do not agree."""
    case = Case(seed)
    versions = [Published(document) for document in case.documents]
    compiled = [compile_catalogue(document) for document in case.documents]
    assert [v.name for v in versions] == [c.hash for c in compiled], "the versions' names differ"
    catalogues = Catalogues(compiled)
    account = Account("a", case.fields)
    state = AccountState()
    state.fields = account.fields  # the state before is one and the same
    for number, usage in enumerate(case.usages):
        key = (usage.service, str(usage.session_id))
        known = state.sessions.setdefault(key, {})
        charged = rate(usage, account, catalogues, known)
        priced = price(usage, state, versions)
        difference = _difference(charged, priced)
        if difference is not None and only in (None, number):
            yield number, {"usage": usage, "known": dict(known), "fields": dict(account.fields), "differs": difference}
        tally.count(charged, known)
        if isinstance(charged, Rated):
            account.change(charged.account_changes, account.balance_micros - charged.amount_micros)
            known.update(charged.session_changes)


def _difference(charged, priced):
    if not isinstance(charged, Rated):
        found = "priced" if isinstance(priced, Priced) else priced.reason
        return None if found == charged.reason else {"reason": (found, charged.reason)}
    if not isinstance(priced, Priced):
        return {"reason": (priced.reason, "priced")}
    due = {
        "amount": priced.amount_micros,
        "lines": priced.lines,
        "changes": priced.changes,
        "session": priced.session_changes,
    }
    found = {
        "amount": charged.amount_micros,
        "lines": tuple(
            PricedLine(**{name: getattr(line, name) for name in PricedLine._fields}) for line in charged.lines
        ),
        "changes": {name: canonical(name, value) for name, value in charged.account_changes.items()},
        "session": charged.session_changes,
    }
    differing = {name: {"due": due[name], "found": found[name]} for name in due if due[name] != found[name]}
    return differing or None

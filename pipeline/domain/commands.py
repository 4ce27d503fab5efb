"""What a command does to an account: pure decisions, one function a type.

A command ends in exactly one event. What is refused changes nothing and may be sent again under its id; what was done
is remembered under its id for ever, so a repeat is DUPLICATE and the same id with other content REJECTED.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pipeline.domain import account as accounts
from pipeline.domain import outcome
from pipeline.domain.account import Account, IdentitySpan, PlanSpan, format_identities, format_plans
from pipeline.domain.allowances import grant
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.fees import begin
from pipeline.domain.ledger import Event, Line
from pipeline.domain.money import AMOUNT_MICROS_MAX, AmountError, parse_micros
from pipeline.domain.outcome import Refusal
from pipeline.domain.usage import is_e164, is_imsi

COMMAND_BYTES_MAX: Final = 64 * 1024
ID_CHARACTERS_MAX: Final = 128
THRESHOLDS_DEFAULT: Final = (50, 80, 100)
THRESHOLDS_MAX: Final = 20
Command = Mapping[str, object]


class Done(NamedTuple):
    """What a command does: the event's kind and reason, the amount added to the balance, and what changes.

    CHARGED has no reason, and its amount is taken from the balance.
    """

    kind: str
    reason: str
    amount_micros: int
    changes: dict[str, str | None]
    kept: dict[str, str]
    detail: dict[str, object]
    identities: tuple[str, ...] = ()
    """whose rows in the subscriber directory change"""
    lines: tuple[Line, ...] = ()
    """of a CHARGED command, whose amount is what it takes from the balance"""


class Setting(NamedTuple):
    """What a command is decided against, beside its account."""

    catalogues: Catalogues
    broker_time_ms: int
    kept: Mapping[str, str]
    charge: Event | None
    """the charge that an adjust names, if it was found"""


def command_digest(command: Command) -> bytes:
    """Return the SHA-256 that tells a repeat from other content under the same id: all fields but `at`."""
    content = {name: value for name, value in command.items() if value is not None and name != "at"}
    return hashlib.sha256(
        json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    ).digest()


def kept_command(command_id: str) -> str:
    """Return the field under which an account remembers a command id: hashed, since ids may be long."""
    return "command:" + _short_hash(command_id)


def kept_reference(reference: str) -> str:
    """Return the field under which an account remembers a top-up's reference."""
    return "reference:" + _short_hash(reference)


def kept_returned(charge_id: str) -> str:
    """Return the field that sums what was returned on a charge."""
    return "returned:" + charge_id


def kept_review(review: str) -> str:
    """Return the field that remembers how a review was settled."""
    return "review:" + review


def kept_fields(command: Command) -> tuple[str, ...]:
    """Return the remembered fields that deciding on this command needs."""
    fields = [kept_command(str(command["command_id"]))]
    if command["type"] == "top_up" and command["reference"] is not None:
        fields.append(kept_reference(str(command["reference"])))
    if command["type"] == "adjust" and command["charge_id"] is not None:
        fields.append(kept_returned(str(command["charge_id"])))
    if command["type"] == "settle_review" and command["review"] is not None:
        fields.append(kept_review(str(command["review"])))
    return tuple(fields)


def parse_event_id(text: object) -> tuple[int, int] | None:
    """Read `<partition>-<seq>`; None if it is something else. An event has one name: no leading zeros."""
    partition, dash, seq = str(text).partition("-")
    if not dash or not (partition.isascii() and partition.isdigit() and seq.isascii() and seq.isdigit()):
        return None
    if len(partition) >= 10 or len(seq) >= 19 or f"{int(partition)}-{int(seq)}" != str(text) or seq == "0":
        return None
    return int(partition), int(seq)


def repeat_of(command: Command, digest: bytes, kept: Mapping[str, str]) -> Refusal | None:
    """Return why the command is a repeat (`duplicate_command`) or a clash (`conflicting_command`), or None."""
    before = kept.get(kept_command(str(command["command_id"])))
    if before is None:
        return None
    if before == digest.hex()[:32]:
        return Refusal("duplicate_command", {"command_id": command["command_id"]})
    return Refusal("conflicting_command", {"command_id": command["command_id"]})


def decide(command: Command, account: Account | None, setting: Setting) -> Done | Refusal:
    """Decide on a command that is no repeat. `settle_review` is decided where use is charged, not here."""
    kind = str(command["type"])
    if kind == "open_account":
        return _open_account(command, account, setting)
    if account is None:
        return Refusal("unknown_account", {"account": command["account"]})
    decision = _DECISIONS.get(kind)
    if decision is None:
        return Refusal("unsupported", {"type": kind})
    if account.status == accounts.CLOSED and kind not in {"top_up", "adjust", "begin_period"}:
        return Refusal("account_closed", {"closed_at": account.fields.get("closed_at")})
    return decision(command, account, setting)


def _open_account(command: Command, account: Account | None, setting: Setting) -> Done | Refusal:
    if account is not None:
        return Refusal("account_exists", {"account": account.account})
    missing = [name for name in ("currency", "plan", "identities", "opening_balance") if command[name] is None]
    if missing:
        return Refusal("bad_command", {"missing": missing})
    name = str(command["account"])
    if not _is_id(name):
        return Refusal("bad_command", {"account": "1 to 128 printable characters without space, @, | or braces"})
    currency = str(command["currency"])
    if len(currency) != 3 or not (currency.isascii() and currency.isalpha() and currency.isupper()):
        return Refusal("bad_command", {"currency": "three capital letters of ISO 4217"})
    plan = str(command["plan"])
    problem = _plan_problem(plan, currency, setting.catalogues)
    if problem is not None:
        return problem
    identities = command["identities"]
    assert isinstance(identities, list)
    wrong = [identity for identity in identities if not is_identity(str(identity))]
    if wrong or len(set(identities)) != len(identities):
        return Refusal("bad_command", {"identities": "each once, as msisdn-+<E.164 digits> or imsi-<digits>"})
    opening = _micros(command, "opening_balance")
    limit = 0 if command["credit_limit"] is None else _micros(command, "credit_limit")
    if isinstance(opening, Refusal):
        return opening
    if isinstance(limit, Refusal):
        return limit
    if limit < 0:
        return Refusal("bad_command", {"credit_limit": "not below zero"})
    at = _time(command, "at")
    plan_from = at if command["plan_from"] is None else _time(command, "plan_from")
    # the identities were never bound to this account: they may be its own as far back as its plan is
    spans = tuple(IdentitySpan(str(identity), min(at, plan_from), None) for identity in identities)
    changes: dict[str, str | None] = {
        "currency": currency,
        "status": accounts.OPEN,
        "plans": format_plans((PlanSpan(plan, plan_from),)),
        "identities": format_identities(spans),
    }
    if limit:
        changes["credit_limit"] = str(limit)
    detail: dict[str, object] = {"plan_from": plan_from}
    return Done(outcome.ACCOUNT_CHANGED, "opened", opening, changes, {}, detail, tuple(map(str, identities)))


def _add_identity(command: Command, account: Account, setting: Setting) -> Done | Refusal:
    identity = str(command["identity"])
    if command["identity"] is None or not is_identity(identity):
        return Refusal("bad_command", {"identity": "msisdn-+<E.164 digits> or imsi-<digits>"})
    effective = _effective(command, account)
    spans = [span for span in account.identities if span.identity == identity]
    for span in spans:
        if not span.covers(effective) and span.from_ms < effective:
            continue
        if span.to_ms is None:
            return Refusal("identity_bound", {"from": span.from_ms})
        # over time once bound, the past stays as it was
        effective = max(effective, setting.broker_time_ms, span.to_ms)
    added = (*account.identities, IdentitySpan(identity, effective, None))
    changes: dict[str, str | None] = {"identities": format_identities(added)}
    return Done(outcome.ACCOUNT_CHANGED, "identity_added", 0, changes, {}, {"effective": effective}, (identity,))


def _remove_identity(command: Command, account: Account, setting: Setting) -> Done | Refusal:
    identity = str(command["identity"])
    effective = max(_effective(command, account), setting.broker_time_ms)
    changed = []
    found = False
    for span in account.identities:
        if span.identity == identity and (span.to_ms is None or span.to_ms > effective):
            found = True
            if span.from_ms >= effective:  # it would have begun later: it never begins
                continue
            changed.append(span._replace(to_ms=effective))
        else:
            changed.append(span)
    if not found:
        return Refusal("identity_not_bound", {"at": effective})
    changes: dict[str, str | None] = {"identities": format_identities(tuple(changed))}
    return Done(outcome.ACCOUNT_CHANGED, "identity_removed", 0, changes, {}, {"effective": effective}, (identity,))


def _top_up(command: Command, account: Account, setting: Setting) -> Done | Refusal:
    amount = _micros(command, "amount")
    if isinstance(amount, Refusal):
        return amount
    if amount <= 0:
        return Refusal("bad_command", {"amount": "above zero"})
    if not command["reference"]:
        return Refusal("bad_command", {"missing": ["reference"]})
    reference = str(command["reference"])
    before = setting.kept.get(kept_reference(reference))
    if before is not None:
        reason = "duplicate_reference" if before == str(amount) else "conflicting_reference"
        return Refusal(reason, {"reference": reference})
    return _booked(account, outcome.TOPPED_UP, "topped_up", amount, {kept_reference(reference): str(amount)})


def _adjust(command: Command, account: Account, setting: Setting) -> Done | Refusal:
    amount = _micros(command, "amount")
    if isinstance(amount, Refusal):
        return amount
    if amount == 0 or not command["reason"]:
        return Refusal("bad_command", {"amount": "not zero", "reason": "a sentence why"})
    if command["charge_id"] is None:
        return _booked(account, outcome.ADJUSTED, "adjusted", amount, {})
    charge_id = str(command["charge_id"])
    charge = setting.charge
    if charge is None or charge.kind != outcome.CHARGED or charge.account != account.account:
        return Refusal("unknown_charge", {"charge_id": charge_id})
    returned = int(setting.kept.get(kept_returned(charge_id), "0")) + amount
    if amount > 0 and returned > max(charge.amount_micros, 0):
        return Refusal("exceeds_charge", {"charged_micros": charge.amount_micros, "returned_micros": returned - amount})
    return _booked(account, outcome.ADJUSTED, "adjusted", amount, {kept_returned(charge_id): str(returned)})


def _booked(account: Account, kind: str, reason: str, amount: int, kept: dict[str, str]) -> Done | Refusal:
    if abs(account.balance_micros + amount) > AMOUNT_MICROS_MAX:
        return Refusal("bad_command", {"amount": "the balance would go out of bounds"})
    return Done(kind, reason, amount, {}, kept, {})


def _change_plan(command: Command, account: Account, setting: Setting) -> Done | Refusal:
    if command["plan"] is None:
        return Refusal("bad_command", {"missing": ["plan"]})
    plan = str(command["plan"])
    problem = _plan_problem(plan, account.currency, setting.catalogues)
    if problem is not None:
        return problem
    effective = _effective(command, account)
    # what was to come after this moment was decided earlier; the newest word counts
    spans = (*(span for span in account.plans if span.from_ms < effective), PlanSpan(plan, effective))
    return Done(
        outcome.ACCOUNT_CHANGED, "plan_changed", 0, {"plans": format_plans(spans)}, {}, {"effective": effective}
    )


def _add_allowance(command: Command, account: Account, setting: Setting) -> Done | Refusal:
    if command["allowance"] is None:
        return Refusal("bad_command", {"missing": ["allowance"]})
    effective = _effective(command, account)
    number = 1 + max((int(name[6:]) for name in account.fields if name.startswith("grant:")), default=0)
    plan = account.plan_at(effective)
    if plan is None:
        return Refusal("no_plan", {"at": effective})
    if account.currency not in setting.catalogues.plan_currencies(plan):
        return Refusal("currency_mismatch", {"plan": plan, "account": account.currency})
    granted = grant(setting.catalogues, plan, str(command["allowance"]), effective, number)
    if isinstance(granted, Refusal):
        return granted
    changes: dict[str, str | None] = {granted.field: granted.value}
    if granted.line is not None and granted.line.amount_micros:
        return _charged(account, (granted.line,), changes)
    detail: dict[str, object] = {"effective": effective, "bucket": granted.field}
    return Done(outcome.ACCOUNT_CHANGED, "allowance_added", 0, changes, {}, detail)


def _begin_period(command: Command, account: Account, setting: Setting) -> Done | Refusal:
    begun = begin(str(command["period"]), _time(command, "at"), account, setting.catalogues)
    return begun if isinstance(begun, Refusal) else _charged(account, begun.lines, begun.changes)


def _charged(account: Account, lines: tuple[Line, ...], changes: dict[str, str | None]) -> Done | Refusal:
    amount = sum(line.amount_micros for line in lines)
    if abs(amount) > AMOUNT_MICROS_MAX or abs(account.balance_micros - amount) > AMOUNT_MICROS_MAX:
        return Refusal("bad_command", {"amount": "the balance would go out of bounds"})
    return Done(outcome.CHARGED, "", amount, changes, {}, {}, (), lines)


def _set_budget(command: Command, account: Account, setting: Setting) -> Done | Refusal:  # noqa: ARG001 - one shape
    amount = _micros(command, "amount")
    if isinstance(amount, Refusal):
        return amount
    thresholds = command["thresholds"] or list(THRESHOLDS_DEFAULT)
    assert isinstance(thresholds, list)
    if amount < 0 or not 0 < len(thresholds) <= THRESHOLDS_MAX or not all(0 < t <= 1000 for t in thresholds):
        return Refusal("bad_command", {"amount": "zero (no budget) or more", "thresholds": "1 to 20 of 1 to 1000 %"})
    budget = f"{amount}@{','.join(map(str, sorted(set(thresholds))))}" if amount else None
    return Done(outcome.ACCOUNT_CHANGED, "budget_set", 0, {"budget": budget}, {}, {})


def _suspend(command: Command, account: Account, setting: Setting) -> Done | Refusal:  # noqa: ARG001 - one shape
    if account.status != accounts.OPEN:
        return Refusal("wrong_state", {"status": account.status})
    return Done(outcome.ACCOUNT_CHANGED, "suspended", 0, {"status": accounts.SUSPENDED}, {}, {})


def _resume(command: Command, account: Account, setting: Setting) -> Done | Refusal:  # noqa: ARG001 - one shape
    if account.status != accounts.SUSPENDED:
        return Refusal("wrong_state", {"status": account.status})
    return Done(outcome.ACCOUNT_CHANGED, "resumed", 0, {"status": accounts.OPEN}, {}, {})


def _close(command: Command, account: Account, setting: Setting) -> Done | Refusal:  # noqa: ARG001 - one shape
    effective = max(_time(command, "at"), _after_newest(account))
    changes: dict[str, str | None] = {"status": accounts.CLOSED, "closed_at": str(effective)}
    return Done(outcome.ACCOUNT_CHANGED, "closed", 0, changes, {}, {"effective": effective})


_Decision = Callable[[Command, Account, Setting], Done | Refusal]
_DECISIONS: Final[dict[str, _Decision]] = {
    "add_identity": _add_identity,
    "remove_identity": _remove_identity,
    "top_up": _top_up,
    "adjust": _adjust,
    "change_plan": _change_plan,
    "add_allowance": _add_allowance,
    "set_budget": _set_budget,
    "begin_period": _begin_period,
    "suspend": _suspend,
    "resume": _resume,
    "close": _close,
}


def is_identity(text: str) -> bool:
    """Tell whether this is an identity as the directory spells them: `msisdn-+86...` or `imsi-460...`."""
    kind, dash, number = text.partition("-")
    return bool(dash) and ((kind == "msisdn" and is_e164(number)) or (kind == "imsi" and is_imsi(number)))


def _is_id(text: str) -> bool:
    return 0 < len(text) <= ID_CHARACTERS_MAX and text.isprintable() and not any(c in " @|{}" for c in text)


def _effective(command: Command, account: Account) -> int:
    """Return the later of the time given and the moment after the newest charged start: no price changes behind us."""
    given = _time(command, "at") if command["from"] is None else _time(command, "from")
    return max(given, _after_newest(account))


def _after_newest(account: Account) -> int:
    newest = account.fields.get("newest")
    return 0 if newest is None else int(newest) + 1


def _plan_problem(plan: str, currency: str, catalogues: Catalogues) -> Refusal | None:
    currencies = catalogues.plan_currencies(plan)
    if not currencies:
        return Refusal("unknown_plan", {"plan": plan})
    if currency not in currencies:
        return Refusal("currency_mismatch", {"plan": plan, "currencies": sorted(currencies), "account": currency})
    return None


def _micros(command: Command, name: str) -> int | Refusal:
    text = command[name]
    if text is None:
        return Refusal("bad_command", {"missing": [name]})
    try:
        return parse_micros(str(text))
    except AmountError as error:
        return Refusal("bad_command", {name: str(error)})


def _time(command: Command, name: str) -> int:
    value = command[name]
    assert isinstance(value, int)
    return value


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

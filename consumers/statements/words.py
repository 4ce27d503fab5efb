"""The sentences of an explanation, by language. A language is whole or it is not there."""

from typing import Final, NamedTuple


class Words(NamedTuple):
    """Every sentence, with the names of what is put into it."""

    charge: str
    use: str
    fee: str
    tariff: str
    rule: str
    prefix: str
    band: str
    recorded: str
    rounded_up: str
    allowance: str
    free: str
    step: str
    connect_fee: str
    meter: str
    own_meter: str
    capped: str
    rounding: str
    line_amount: str
    sum: str
    balance: str
    balance_changed: str
    answer: str
    detail: str
    unknown_reason: str
    second: str
    octet: str
    message: str


ENGLISH: Final = Words(
    charge="charge {id}: {amount} {currency}",
    use="{service} {direction} with {other}, started {start}, {quantity}",
    fee="a command: {type} {id}",
    tariff="plan {plan}, catalogue {catalogue}",
    rule="part {number}: rule {rule}",
    prefix=", prefix {prefix}",
    band=", band {band}",
    recorded="recorded {quantity}",
    rounded_up=", rounded up to {quantity}",
    allowance="{used} of it from allowance {allowance}",
    free="free by this rule: nothing to pay",
    step="{increments} x {increment} {unit} at {price} per {per} {unit} (from {from_} {unit} on) = {amount}",
    connect_fee="connect fee {amount}",
    meter="on meter {meter}: sum {before} before, {after} after",
    own_meter="sum of this record: {before} before, {after} after",
    capped="never more than {maximum}",
    rounding="rounded to {decimals} decimals ({mode}): {after} - {before} = {amount}",
    line_amount="this part: {amount}",
    sum="together {parts} = {amount} {currency}",
    balance="balance {before} - {amount} = {after} {currency}",
    balance_changed="balance {before} + {amount} = {after} {currency}",
    answer="event {id}: {kind} {reason}",
    detail="{name}: {value}",
    unknown_reason="(no sentence for this reason)",
    second="s",
    octet="B",
    message="message(s)",
)

LANGUAGES: Final = {"en": ENGLISH}

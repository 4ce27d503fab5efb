# ruff: noqa: RUF001 - full-width punctuation is how Chinese is written
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
    minimum: str
    capped: str
    discount: str
    tax_included: str
    tax_added: str
    cap: str
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
    minimum="never less than {minimum}",
    capped="never more than {maximum}",
    discount="discount {terms}: {of} - {taken}",
    tax_included="tax of {rate} is in the price",
    tax_added="tax of {rate} added: {of} + {added}",
    cap="cap {cap} of {maximum}: {before} before, {after} with this record, so {amount}",
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

CHINESE: Final = Words(
    charge="扣费 {id}：{amount} {currency}",
    use="{service} {direction}，对方 {other}，开始于 {start}，{quantity}",
    fee="指令：{type} {id}",
    tariff="套餐 {plan}，资费目录 {catalogue}",
    rule="第 {number} 段：规则 {rule}",
    prefix="，前缀 {prefix}",
    band="，时段 {band}",
    recorded="记录 {quantity}",
    rounded_up="，进整为 {quantity}",
    allowance="其中 {used} 由套餐额度 {allowance} 抵扣",
    free="按此规则免费，无需付费",
    step="{increments} × {increment} {unit}，每 {per} {unit} 单价 {price}（自 {from_} {unit} 起）= {amount}",
    connect_fee="接通费 {amount}",
    meter="计量器 {meter} 累计：之前 {before}，之后 {after}",
    own_meter="本记录合计：之前 {before}，之后 {after}",
    minimum="最低收费 {minimum}",
    capped="最高不超过 {maximum}",
    discount="优惠 {terms}：{of} - {taken}",
    tax_included="价格已含税 {rate}",
    tax_added="另加税 {rate}：{of} + {added}",
    cap="封顶 {cap}，上限 {maximum}：之前 {before}，含本记录 {after}，因此 {amount}",
    rounding="保留 {decimals} 位小数（{mode}）：{after} - {before} = {amount}",
    line_amount="本段：{amount}",
    sum="合计 {parts} = {amount} {currency}",
    balance="余额 {before} - {amount} = {after} {currency}",
    balance_changed="余额 {before} + {amount} = {after} {currency}",
    answer="事件 {id}：{kind} {reason}",
    detail="{name}：{value}",
    unknown_reason="（此原因没有说明）",
    second="秒",
    octet="字节",
    message="条",
)

LANGUAGES: Final = {"en": ENGLISH, "zh": CHINESE}

MODES: Final[dict[str, dict[str, str]]] = {
    "en": {},
    "zh": {"half_up": "四舍五入", "half_even": "四舍六入五成双", "up": "向上进位", "down": "向下舍去"},
}
"""Modes of rounding by language, where they have another name than in a catalogue."""

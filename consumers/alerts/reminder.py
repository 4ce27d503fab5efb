# ruff: noqa: RUF001 - full-width punctuation is how Chinese is written
"""What a customer is told of his own alerts, in plain words and his language: his budget, included use, balance.

Amounts are in the account's currency, exact to the cent or beyond; what is left is rounded down, never up.
"""

from typing import Any, Final, NamedTuple

from pipeline.domain.detectors.finding import CLOSE
from pipeline.domain.money import format_micros
from pipeline.domain.usage import DATA, VOICE

MINUTE_MS: Final = 60_000
_SIZES: Final = ((1_073_741_824, "GB"), (1_048_576, "MB"), (1, "B"))
_EVERYTHING: Final = 100


class _Language(NamedTuple):
    money: dict[str | None, str]
    months: str
    services: dict[str, str]
    minutes: str
    messages: str
    budget: str
    budget_spent: str
    allowance: str
    allowance_used: str
    balance: str


LANGUAGES: Final = {
    "en": _Language(
        money={None: "{amount} {currency}"},
        months="{year}-{month:02}",
        services={
            "VOICE": "calls",
            "DATA": "data",
            "SMS": "text messages",
            "MMS": "picture messages",
            "EVENT": "services",
        },
        minutes="{count} minutes",
        messages="{count}",
        budget="In {month} you have spent {spent}. That is {percent}% of the {budget} you set as your budget.",
        budget_spent="In {month} you have spent {spent}. The {budget} you set as your budget are used up. "
        "You can go on; it is charged as usual.",
        allowance="You have used {percent}% of the {service} included in your plan. Left: {left}.",
        allowance_used="You have used all of the {service} included in your plan. More is charged at the normal price.",
        balance="Your balance is {balance}, which is below {threshold}. Please top up.",
    ),
    "zh": _Language(
        money={"CNY": "{amount}元", None: "{amount} {currency}"},
        months="{year}年{month}月",
        services={"VOICE": "通话", "DATA": "流量", "SMS": "短信", "MMS": "彩信", "EVENT": "服务"},
        minutes="{count}分钟",
        messages="{count}条",
        budget="您在{month}已消费{spent}，达到您设定的预算{budget}的{percent}%。",
        budget_spent="您在{month}已消费{spent}，您设定的预算{budget}已经用完。您可以继续使用，费用照常收取。",
        allowance="您套餐内的{service}已使用{percent}%，剩余{left}。",
        allowance_used="您套餐内的{service}已经用完，继续使用将按标准资费收费。",
        balance="您的余额为{balance}，已低于{threshold}，请及时充值。",
    ),
}
"""A language is whole or it is not there."""


def reminder(alert: dict[str, Any], language: str) -> str | None:
    """Return the sentence for an alert, as JSON has it; None where a customer is told nothing of it."""
    words, detail = LANGUAGES[language], alert["detail"]
    if alert["state"] == CLOSE or not isinstance(detail, dict):
        return None
    try:
        if alert["detector"] == "spend_budget":
            return _budget(words, detail)
        if alert["detector"] == "allowance_low":
            return _allowance(words, detail)
        if alert["detector"] == "low_balance":
            balance, threshold = detail["balance_after_micros"], detail["threshold_micros"]
            return words.balance.format(
                balance=_money(words, balance, detail), threshold=_money(words, threshold, detail)
            )
    except (KeyError, TypeError, ValueError):  # figures of another writer: nothing that could be said of them
        return None
    return None


def _budget(words: _Language, detail: dict[str, Any]) -> str:
    year, month = map(int, detail["month"].split("-"))
    sentence = words.budget_spent if detail["percent"] >= _EVERYTHING else words.budget
    return sentence.format(
        month=words.months.format(year=year, month=month),
        spent=_money(words, detail["spend_after_micros"], detail),
        budget=_money(words, detail["budget_micros"], detail),
        percent=detail["percent"],
    )


def _allowance(words: _Language, detail: dict[str, Any]) -> str:
    service = words.services[detail["service"]]
    if detail["percent"] >= _EVERYTHING:
        return words.allowance_used.format(service=service)
    left = max(detail["size"] - detail["used_after"], 0)
    if detail["service"] == VOICE:
        text = words.minutes.format(count=left // MINUTE_MS)
    elif detail["service"] == DATA:
        unit, name = next((size, name) for size, name in _SIZES if left >= size or size == 1)
        text = f"{left // unit}.{left % unit * 10 // unit} {name}" if unit > 1 else f"{left} {name}"
    else:
        text = words.messages.format(count=left)
    return words.allowance.format(percent=detail["percent"], service=service, left=text)


def _money(words: _Language, micros: int, detail: dict[str, Any]) -> str:
    currency = detail["currency"]
    return words.money.get(currency, words.money[None]).format(amount=format_micros(micros), currency=currency)


def reminder_data(alert: dict[str, Any], language: str) -> dict[str, Any]:
    """Return what a reminder's webhook carries: the words, and which account and alert they are about."""
    told = {name: alert[name] for name in ("alert_id", "account", "detector")}
    return {**told, "language": language, "text": reminder(alert, language)}

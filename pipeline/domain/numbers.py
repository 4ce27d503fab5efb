"""Telephone numbers as networks write them, brought to the one spelling that accounts and tariffs use.

Form only, no country's numbering plan: a table of plans changes with each of its releases, and with it would change
who pays. What is done, in this order:

| written | becomes | for instance (country code 86, national prefix 0, international prefix 00) |
|---|---|---|
| spaces, `-` `.` `(` `)` anywhere | taken out | `791-445-9811` → `7914459811` |
| `+` and digits | itself | `+8613800000001` |
| up to 8 of `0`-`9` `*` `#`, the other party's | a short code, as dialled | `10086`, `*100#`, `000` |
| the international prefix and digits | `+` and the rest | `0033140000000` → `+33140000000` |
| the national prefix and digits | `+`, country code, the rest | `01012345678` → `+861012345678` |
| other digits | `+`, country code, those | `7914459811` → `+867914459811` |
| anything else | nothing: refused | letters, `*` in a long number, more than 15 digits, `+0…` |

So a number of another country must say so, by `+` or by the international prefix: `33140000000` is read as national.
A served subscriber is never a short code: there, even a short number is completed.
"""

from typing import Final, NamedTuple

from pipeline.domain.usage import is_e164, is_short_code

_SEPARATORS: Final = str.maketrans("", "", " -.()")


class NumberRules(NamedTuple):
    """How numbers are written in this network. An empty prefix is one that is not in use.

    Short codes have up to `short_code_digits` digits: fewer than 8 where national numbers are as short as that.
    """

    country_code: str
    national_prefix: str
    international_prefix: str
    short_code_digits: int


def served_number(text: str, rules: NumberRules) -> str | None:
    """Return a served subscriber's number as E.164 with `+`; None where it has none."""
    if is_e164(text):
        return text
    return _international(text.translate(_SEPARATORS), rules)


def other_number(text: str, rules: NumberRules) -> str | None:
    """Return the other party's number as E.164 with `+`, or a short code as dialled; None where it is neither."""
    if is_e164(text):
        return text
    number = text.translate(_SEPARATORS)
    if len(number) <= rules.short_code_digits and is_short_code(number):
        return number
    return _international(number, rules)


def _international(number: str, rules: NumberRules) -> str | None:
    if not number.startswith("+"):
        if rules.international_prefix and number.startswith(rules.international_prefix):
            number = "+" + number.removeprefix(rules.international_prefix)
        else:
            national = number.removeprefix(rules.national_prefix)
            if not national:
                return None
            number = "+" + rules.country_code + national
    return number if is_e164(number) else None

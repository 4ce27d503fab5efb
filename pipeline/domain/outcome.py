"""What can become of a record or a command: closed lists, in order of precedence, a sentence each.

Two ledgers of trouble exist and they do not mix. A *dead letter* is a raw record that could not be accepted: no
account was found for it, or its bytes say nothing certain. An *answer* other than CHARGED is an event of the ledger.
"""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

CHARGED: Final = "CHARGED"
DUPLICATE: Final = "DUPLICATE"
REVIEW: Final = "REVIEW"
REJECTED: Final = "REJECTED"
TOPPED_UP: Final = "TOPPED_UP"
ADJUSTED: Final = "ADJUSTED"
ACCOUNT_CHANGED: Final = "ACCOUNT_CHANGED"
SEAL: Final = "SEAL"

KINDS: Final = (CHARGED, DUPLICATE, REVIEW, REJECTED, TOPPED_UP, ADJUSTED, ACCOUNT_CHANGED, SEAL)

DEAD_LETTER_REASONS: Final = {
    "quarantined": "The record ended the process three times and was set aside unread.",
    "undecodable": "The bytes are not one whole record of a known schema.",
    "unknown_schema": "The schema fingerprint is not one that was ever published.",
    "out_of_bounds": "A field is longer, larger or smaller than the contract allows.",
    "bad_number": "A subscriber or other party's number is no E.164 number, IMSI or short code.",
    "no_identity": "Neither msisdn nor imsi is there.",
    "starts_in_future": "The use starts after the broker received its record.",
    "ambiguous": "The identities lead to more than one account at that time.",
    "unknown_subscriber": "No account had these identities at that time.",
}
"""Why mediate could not accept a raw record; the record itself is kept, byte for byte."""

ANSWER_REASONS: Final = {
    # of a usage record, in the order in which they are asked
    "quarantined": "The record ended the process three times and was set aside unread.",
    "undecodable": "The bytes on the topic are not one whole record or command of a known schema.",
    "wrong_partition": "The account belongs to another partition.",
    "unknown_account": "No such account.",
    "late": "The use is older than the late window; its duplicates can no longer be told.",
    "duplicate": "The same record was charged before.",
    "conflicting_copy": "The same record_id was charged before with other content.",
    "not_bound": "The account did not have this identity when the use started.",
    "after_close": "The use starts at or after the account's close.",
    "no_plan": "The account had no plan in the catalogue when the use started.",
    "no_tariff": "No rule of the plan matches the use, or a stretch of it.",
    "currency_mismatch": "The plan's currency is not the account's.",
    "too_large": "The price has more lines than one event holds, or an amount out of bounds.",
    "fault": "The rating core failed on this record; it is kept for a person.",
    # of a command
    "duplicate_command": "The same command was carried out before.",
    "conflicting_command": "The same command_id was used before with other content.",
    "duplicate_reference": "A top-up with this reference was booked before.",
    "conflicting_reference": "This reference was booked before with another amount.",
    "bad_command": "A field is missing, unknown or out of bounds.",
    "unsupported": "This release does not carry out this type of command.",
    "account_exists": "The account is open already.",
    "account_closed": "The account is closed.",
    "unknown_plan": "The catalogue has no such plan.",
    "unknown_allowance": "The catalogue has no such allowance.",
    "identity_bound": "The account has this identity at that time already.",
    "identity_not_bound": "The account does not have this identity at that time.",
    "unknown_charge": "No such charge of this account.",
    "exceeds_charge": "More would be returned than the charge took.",
    "unknown_review": "No such review of this account.",
    "already_settled": "The review was settled before.",
    "already_charged": "The record was charged meanwhile.",
    "too_old": "The numbers that tell repeats of that day apart have expired; use adjust.",
    "period_begun": "That month, or a later one, was begun before.",
    "wrong_state": "The account's status does not allow this.",
    # of a seal
    "seal": "What the partition came to so far, counted and summed.",
    "settings_changed": "A setting that decides on money took a new value.",
    "accepted_loss": "An operator accepted a loss of events or inputs.",
    # of an event that did what was asked
    "opened": "The account was opened.",
    "identity_added": "An identity was bound to the account.",
    "identity_removed": "An identity was released from the account.",
    "topped_up": "Money was paid in.",
    "adjusted": "The balance was corrected.",
    "plan_changed": "Another plan applies from the time given.",
    "allowance_added": "A bucket was added.",
    "budget_set": "The customer's own budget was set.",
    "suspended": "The account was suspended.",
    "resumed": "The account was resumed.",
    "closed": "The account was closed.",
    "discarded": "A held record was settled without charge.",
}
"""The closed list of `reason` in the ledger; null for CHARGED."""


class Refusal(NamedTuple):
    """Expected trouble as a value: one word of a closed list, and what a person needs to see why."""

    reason: str
    detail: dict[str, object]


def json_text(detail: Mapping[str, object]) -> str:
    """Write an event's detail."""
    return json.dumps(detail, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

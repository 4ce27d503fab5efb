"""The names of the view's keys: all of a partition share one hash tag, hence one slot and one atomic script."""

from typing import Final

from pipeline.topics import NAMESPACE

DAY_S: Final = 86_400


def tag(partition: int) -> str:
    """Return what all keys of a partition have behind their kind."""
    return f"{{{NAMESPACE}{partition}}}"


def ledger(partition: int) -> str:
    """Where the view of this partition stands."""
    return f"ledger:{{{NAMESPACE}{partition}}}"


def account(partition: int, name: str) -> str:
    """Return the key of an account's fields."""
    return f"account:{{{NAMESPACE}{partition}}}:{name}"


def kept(partition: int, name: str) -> str:
    """Return the key of what is remembered of an account for ever."""
    return f"kept:{{{NAMESPACE}{partition}}}:{name}"


def session(partition: int, key: str) -> str:
    """Return the key of a session's meter."""
    return f"session:{{{NAMESPACE}{partition}}}:{key}"


def seen(partition: int, day: int, bucket: int) -> str:
    """Return the key of the numbers of one bucket of an event day."""
    return f"seen:{{{NAMESPACE}{partition}}}:{day}:{bucket}"


def attempts(partition: int) -> str:
    """Return the key that counts how often a batch was begun and not ended; no part of the folded state."""
    return f"attempts:{{{NAMESPACE}{partition}}}"


def expiry_s(expires_day: int) -> int:
    """Return when a key of this last day goes, in seconds since 1970: at the day's end."""
    return (expires_day + 1) * DAY_S

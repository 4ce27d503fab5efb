"""The price of a record, worked out a second time: slow, plain, and sharing nothing with the core that charged it.

Written from what `docs/catalogue.md` says, not from what the core does: increments are bought one after the other,
money is a fraction, paths are walked from their beginning. Where the two disagree one of them does not do what the
documentation promises; the auditor and the differential tests find it.

`price(usage, account, versions)` answers with Priced or Refused and changes nothing.
"""

from consumers.audit.pricing.account import AccountState
from consumers.audit.pricing.catalogue import Published
from consumers.audit.pricing.record import Priced, PricedLine, Refused, price

__all__ = ["AccountState", "Priced", "PricedLine", "Published", "Refused", "price"]

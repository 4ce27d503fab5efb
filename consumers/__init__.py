"""Downstream of the ledger and the alerts; nothing here is on the path of a charge."""

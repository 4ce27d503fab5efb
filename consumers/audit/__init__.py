"""The books, checked by someone else.

The auditor reads every event of the ledger and everything the view holds, and proves what chargeline promises about
them. It shares the ledger's encoding with charge, but not its arithmetic: it does not fold and does not rate. `chain`,
`coverage`, `books`, `register` and `view` each hold pure checks of their own invariants over one event after the other;
`partition` puts them together; `verify` reads a real ledger and a real view through them.
"""

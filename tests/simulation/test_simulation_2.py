"""Seeds 1000 to 1999 of the simulation."""

from sim_suite import prove


def test_every_invariant_holds_whatever_fails():
    """Killed, sleeping, overtaken, unheard: nothing is lost, nothing charged twice, and in the end all is answered."""
    prove(1000)

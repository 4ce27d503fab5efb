"""Finds the usual mistakes of a set-up before they cost use or money: facts are fetched first, then judged."""

from deploy.doctor.checks import FAILED, PASSED, WARNED, Verdict, judge
from deploy.doctor.facts import Facts, gather

__all__ = ["FAILED", "PASSED", "WARNED", "Facts", "Verdict", "gather", "judge"]

"""What charging means: pure functions over frozen values. Standard library only; no I/O, clock, randomness, float."""

"""On the path of a charge: mediate, charge, detect, and what they share."""

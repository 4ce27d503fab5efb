"""How fast, against what floor."""

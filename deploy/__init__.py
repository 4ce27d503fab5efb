"""How the parts become running processes."""

"""A small operator of our own making, and the story of its last ten days."""

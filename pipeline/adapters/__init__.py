"""Edges: one outside thing a file, each with its in-memory twin where one is needed."""

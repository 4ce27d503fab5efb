"""The books, checked by someone else."""

"""Files that probes write, read as usage records."""

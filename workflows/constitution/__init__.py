"""The constitution: its bytes, its hash, and the figures that the software takes from it."""

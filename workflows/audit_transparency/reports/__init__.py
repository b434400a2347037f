"""Transparency reports: figures of a period, each bound to a checkpoint of the log and linked to the rows behind it."""

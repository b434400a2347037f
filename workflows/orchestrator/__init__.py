"""States, stages, retries and timers of every workflow, kept as rows."""

"""The audit trail: what happened, in an order nobody can rewrite."""

"""Policy enforcement: what machines may do, decided by the rules that people voted for (Constitution § 8)."""

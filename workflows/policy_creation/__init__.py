"""Policy creation: draft, review, comment, vote, implement."""

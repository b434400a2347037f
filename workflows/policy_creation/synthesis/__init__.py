"""Policy synthesis: from a goal and principles to drafts with executable rules, each validated before anyone sees it."""

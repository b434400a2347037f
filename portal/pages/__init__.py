"""Pages for people: one module per area, each with its `routes`."""

"""Tables and the unit of work: the only way the core reads and writes."""

"""Constitutional compliance: texts are held against the principles of the constitution, with evidence and measured accuracy."""

"""Whole policies for common needs: text and rule, with the amounts, periods, people and roles that a goal names."""

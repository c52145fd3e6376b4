"""Which solver a structure gets: the rules, with their measurements, and the choice."""

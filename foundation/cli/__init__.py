"""Commands, and what serving needs."""

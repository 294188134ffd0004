"""Scoring: each key's rows are brought to its own model."""

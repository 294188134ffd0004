"""Metrics, what is held out, and how a candidate is judged."""

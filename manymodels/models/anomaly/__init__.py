"""Anomaly detection: families that score every row, and flag those above a threshold."""

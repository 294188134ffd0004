"""Choosing a winner per key."""

"""Trainers that fit thousands of keys in one call."""

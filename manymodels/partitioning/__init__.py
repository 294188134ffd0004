"""Typed keys, the split of a dataset by key, the partition store, and packing keys into batches."""

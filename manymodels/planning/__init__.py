"""Plan: what trains, why, and what it will cost."""

"""How live models do: accuracy, coverage and drift, key by key."""

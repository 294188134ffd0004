"""Where work runs: executors for batches, and the sandbox for model code."""

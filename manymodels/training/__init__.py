"""Training: a plan is fanned out, journalled, and published in one step."""

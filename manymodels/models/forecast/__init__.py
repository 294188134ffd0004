"""Forecasts: the regular grid of periods, and the families that extrapolate it."""

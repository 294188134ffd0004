"""Regression, classification and ranking with any scikit-learn estimator, prepared by column type."""

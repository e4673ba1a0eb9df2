"""Trains scikit-learn's estimators as vtune learners, on folds of any sizes."""

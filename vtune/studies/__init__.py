"""Sweeps and Optuna's studies: a sweep as a study, its storages, its distributions.

Optuna is imported where a study is written, and not before. May import `log`, `results` and what is
below them. Knows nothing of how a sweep is asked for (`tuning`) or printed (`command`).
"""

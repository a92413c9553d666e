"""Benchmarks: our procedures beside plain ones, both from one run, as ratios."""

"""Benchmarks: our procedure beside a plain one, both from one run, as ratios."""

from mse.bench.train import Job, bench_train

__all__ = ["Job", "bench_train"]

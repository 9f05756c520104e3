"""Benchmarks: a plan, its runs, their measurements and a report."""

"""Trials of `benchmarks/faults.py`, one file for each thing that is stored."""

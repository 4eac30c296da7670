"""Slow references: every learner again in plain numpy, one episode at a time, as its formula is written."""

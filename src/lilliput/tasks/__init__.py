"""Labelled sets: from files and known names to examples of one task, and the metrics that score it."""

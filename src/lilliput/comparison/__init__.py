"""Compares what was made: fine-tuned models of several runs, and bundles by size, quality and speed."""

"""Trains the stages of a recipe: rows, batches, objectives, steps, checkpoints and the loop around them."""

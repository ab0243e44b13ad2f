"""An encoder and a task -> a model of the task, with or without what a fine-tuned teacher says."""

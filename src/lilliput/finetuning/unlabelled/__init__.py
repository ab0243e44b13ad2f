"""Unlabelled text on which a fine-tuned teacher teaches a student a task.

Sentences of a corpus near the task, new pairs and exchanged spans of its own texts, and the user's own text.
"""

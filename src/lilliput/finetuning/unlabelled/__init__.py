"""Unlabelled text on which a fine-tuned teacher teaches a student a task.

Sentences of a corpus near the task, the task's own examples with words changed by the teacher, new pairs of
its texts, and text of the user's own.
"""

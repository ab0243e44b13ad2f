"""The teacher with two vocabularies, the student, what links them, and the forward pass they share."""

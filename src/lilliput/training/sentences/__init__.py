"""Stages that learn vectors of texts: cut from a corpus, read once by the teacher, made into batches."""

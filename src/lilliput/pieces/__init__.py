"""From words to pieces: the teacher's tokenizer, the student's vocabulary, words in both segmentations."""

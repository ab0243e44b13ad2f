"""From sources of text to words: reads every format, cuts texts into words and stores them as word ids."""

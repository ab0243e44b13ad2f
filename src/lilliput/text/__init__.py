"""From text files and data sets to a corpus: reads every format, splits text into words, stores word ids."""

"""What a run will cost, said before it: words per second, hours, memory and disk.

1. `footprint`: shapes and the size of a text -> bytes in memory and on disk.
2. `samples`: a text -> a small part of it, and how large a part; or a text that is made up.
3. `probes`: a few real steps of every stage, on this machine and such a sample -> how fast it goes.
4. `estimate`: how fast each stage goes -> how long it takes with all that is around its steps.
5. `plan`: all of it for a run that is to be, or for one that is about to train.
"""

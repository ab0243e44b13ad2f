"""A run as one page of HTML: read from the files of the run alone, drawn here, readable without a network.

Each file but `blocks`, `drawing`, `page` and `report` makes the sections of one subject; what a run has not is
left out.
"""

"""A run as one page of HTML: read from the files of the run alone, drawn here, readable without a network.

`sources` reads a run, `report` decides what is on the page, `page` writes it. The others make the sections
of one subject each, of the `blocks` that a page has; what is not there is left out.
"""

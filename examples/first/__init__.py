"""The first story: from a source package to an installed one.

`demo.py` tells it to a person at a terminal; `tests/stories/` runs the same parts as tests. Both
drive Commonfarm by its command line only; nothing in here knows its insides.
"""

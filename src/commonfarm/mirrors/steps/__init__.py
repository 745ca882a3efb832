"""Steps towards mirrors that are looked at often enough, and a map that says what was seen.

Each starts from the tables and can be cut off anywhere: the next one finds what is left to do.
"""

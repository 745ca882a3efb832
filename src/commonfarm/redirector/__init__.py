"""Answers downloads from the mirror map: which mirror a client is sent to, and why. No Django, no
database.
"""

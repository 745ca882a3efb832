"""Keeps steps from colliding: background work that survives a kill, locks with owner, reason and
time limit, and freezes.
"""

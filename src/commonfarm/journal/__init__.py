"""What happened, once and in order: append-only events, written in the transaction of what they
tell of, and the readers that follow them without missing one that commits late.
"""

"""One running Commonfarm: its configuration, embedded PostgreSQL, the supervisor of `up`, and the
doctor that checks the host.
"""

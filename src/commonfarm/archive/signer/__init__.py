"""The signer: a process of its own with the signing keys, a read-only view of the database, and a
socket. It is asked by ids only, and signs what the database says was built and approved.
"""

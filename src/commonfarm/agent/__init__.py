"""Runs on a builder: leases a job, prepares a pristine buildroot, builds in a sandbox, streams the
log and uploads what came out. Standard library only, Python 3.9 or later: the hub serves it as one
zipapp.
"""

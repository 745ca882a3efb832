"""Turns sources into artifacts: sources, builds, jobs, the scheduler that leases jobs to builders,
and the reports that come back.
"""

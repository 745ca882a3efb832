"""Builders and whether they are pristine: enrolment, generations, cordons. Rolling reinstall is to
come.
"""

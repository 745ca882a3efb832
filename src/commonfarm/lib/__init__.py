"""What every room may use: units, ids, errors and reasons, secrets, checked paths, the
configuration of an installation, ports. No Django, and nothing of the other rooms. A module
enters when three rooms use it.
"""

"""What a project needs and what it was lent, read from YAML in git: hosts, pools, targets,
projects, release trees. Today the least of it; planning, pledges and forecasts are to come.
"""

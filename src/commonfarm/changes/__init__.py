"""Who changes what, why, who agreed, and whether it worked: proposals, review, rehearsal,
execution, after-action review, host configuration in git. Nothing of it is built yet.
"""

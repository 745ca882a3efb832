"""Where else the files of a release tree lie: registered mirrors, what each scan saw there, and the
mirror map written for the redirector.
"""

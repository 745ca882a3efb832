"""The machine reassignment problem of the Google/ROADEF challenge 2012, and a search for it."""

"""What mirrors would have carried of a day that a web server has logged. No Django, no hub."""

"""What follows from the facts beyond a plan: forecasts, cliffs, offers, what is wanted. Pure."""

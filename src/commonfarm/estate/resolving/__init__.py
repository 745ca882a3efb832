"""From what the files say to facts: names, sizes, ratios, ranges. Pure."""

"""The verbs of `commonfarm mirror`: thin, and what they need is loaded when they are called."""

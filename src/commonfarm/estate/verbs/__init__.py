"""The verbs of `commonfarm estate` that work on a folder: thin, and loaded when they are called."""

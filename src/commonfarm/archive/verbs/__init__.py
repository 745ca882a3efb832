"""The commands of `commonfarm tree`, by what they are for."""

"""The estate in the forms that other tools read. Pure."""

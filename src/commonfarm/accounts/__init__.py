"""Who a person or a program is: users, roles, tokens, one-time sign-in links."""

"""What the API and the pages of every context share: problem details, pagination, If-Match,
idempotency keys, permissions, and the client the command line speaks through.
"""

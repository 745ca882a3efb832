"""What was built and may be given out: artifacts with their provenance, apt repositories, release
trees published by one atomic switch, and the signer that signs only what the database approves.
"""

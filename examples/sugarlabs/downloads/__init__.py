"""The downloads of Sugar Labs: two trees behind symlinks, ten mirrors, and a release at noon."""

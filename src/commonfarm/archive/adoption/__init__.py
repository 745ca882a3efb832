"""Adopted trees: a folder that something else fills, with the redirector in front of it.

A worker looks at the folder again and again, and compares it with the rows of the tree. What came,
went or changed becomes a new revision at once; there is nothing to copy, review or sign. Hashes
follow in the background.

- `comparing`: what lies in a folder beside what is known of it, both in the order of paths (pure).
- `looking`: one look at the folder, from the checks of its root to a new revision.
- `applying`: what a look found becomes rows of the next revision.
- `reading`: the hashes of files, read while nobody changes them.
- `tasks`: when all this is done; `models` holds what was found last.

Names that begin with a dot are left out but for a few that installers look for: rsync's and
editors' unfinished files are called so, and the redirector gives out none of them.
"""

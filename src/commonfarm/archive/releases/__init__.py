"""The life of a release: files on their way from an upload into a release tree, and out again.

    open_release --add_files, add_aliases--> OPEN --close--> UNLISTED --review--> REVIEWED
    REVIEWED --publish--> (a publication takes it) --> PUBLIC --withdraw--> WITHDRAWN
    REVIEWED --publish(visible_from)--> EMBARGOED --at that time--> (a publication) --> PUBLIC
    OPEN, UNLISTED, REVIEWED --reject--> REJECTED

What others call:

- `lifecycle`: `open_release`, `add_files`, `add_aliases`, `close` (returns the token of the
  unlisted address; `by_link` finds the release again, `new_link` makes the old one void), `review`,
  `reject`.
- `going_public`: `publish` (at once, or under embargo until a time; again for an embargoed one: at
  another time), `withdraw` (with a grace period, or at once), `rollback` of a tree.
- `application_tree`: `check_folder` judges an application tree on disk and lists it, all faults at
  once; without Django.
- `readable`: `check_release` and `check_published` say whether all who serve it can read what is
  published.
- `history`: `compare` (pure), `between_revisions`, `of_release` and `between_trees` say what is
  new, gone and changed; `revisions` is a tree's history.
- `explaining`: `explain` says where a release stands, and what would bring it on.
- `rules`: what paths and aliases may be (pure).
- `rows` changes the tree's tables when a publication is assembled; `staging` keeps the folder that
  registered mirrors fill themselves from before an embargo ends.

All refuse with RefusedError where the state does not allow it, and with BadInputError that lists
every fault where the input has some. `who` is plain text as in the journal (`user:anna`).
"""

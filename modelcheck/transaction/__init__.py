"""Write a plan into a checkpoint so that a crash at any instruction loses nothing, and take it back.

`apply` keeps what it is about to change in a journal, DIR/.modelcheck/journal-0001/, before it touches the checkpoint:

    old/K  new/K     of the K-th file: what it was, and what it will be
    manifest.json    what belongs to what; without it nothing of the checkpoint has been touched
    commit           without it the checkpoint may be anything between old and new

The journal is the undo: `undo` takes back the newest one, whether a crash or a commit ended it. Every call that changes
the disk is in `disk`.
"""

from modelcheck.transaction.journal import unfinished
from modelcheck.transaction.mended_copy import write_copy, write_copy_of
from modelcheck.transaction.recovery import forget, undo
from modelcheck.transaction.staging import needed_space
from modelcheck.transaction.writing import apply

__all__ = ["apply", "forget", "needed_space", "undo", "unfinished", "write_copy", "write_copy_of"]

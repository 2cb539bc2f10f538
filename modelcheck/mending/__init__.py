"""From findings to a plan of edits, to what the files become, to a proposal that is linted before it is written."""

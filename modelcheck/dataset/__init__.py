"""Rows of data sets, whatever their form, as conversations: for the facts of `lint --data` and for jobs."""

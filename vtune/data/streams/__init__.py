"""Batches that a pipeline of the user's makes: `vt.stream`.

`feeds` asks the pipeline for its batches in their order, `batch_form` checks each, `tape` hands
them out, `states` writes down where an iterator stands. No pipeline's library is imported here.
"""

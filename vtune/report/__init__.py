"""`Sweep.report`: a sweep as one page of HTML that needs nothing else, and advice from its numbers.

`file` writes it, `page` puts the parts together: a file a part. `advice` has a function for each
piece of advice. The same sweep makes the same bytes. May import: `plots`, `results` and what is
below them. Nothing imports these files but `command`, and `Sweep.report` by name.
"""

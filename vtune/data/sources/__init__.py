"""What a user gives as data, as tables of rows that are read when they are needed.

Arrays of any library that have `shape`, `dtype` and `[rows]`, and sources of records. None of the
libraries is imported here. May import: `data.convert`, `types`, `validation`.
"""

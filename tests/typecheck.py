"""The type checker of the import hook: arguments of functions that a module defines, once each.

Functions defined inside others are made anew at every call, and checking these took as long as
checking all the rest.
"""

from beartype import beartype


def checked(function):
    return function if "<locals>" in function.__qualname__ else beartype(function)

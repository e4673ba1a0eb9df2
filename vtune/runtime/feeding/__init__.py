"""Runs the program of data on the host: which pieces a round has, what is read for each, and when.

`schedule` says what comes, `reader` reads ahead, `rounds` calls the program.
"""

from vtune.runtime.feeding.rounds import FedRounds
from vtune.runtime.feeding.reader import SourceError

__all__ = ["FedRounds", "SourceError"]

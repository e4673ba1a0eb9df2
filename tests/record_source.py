"""Records that processes of a loader read: nothing is imported here that takes long."""

import numpy as np


class Ids:
    """Forty numbers for grain."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return {"x": np.int32(index)}

    def __repr__(self):
        return "Ids()"


class Numbers:
    """Forty records for grain."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return {"x": np.full(2, index, np.float32), "y": np.int64(index)}

    def __repr__(self):
        return "Numbers()"

"""`python -m vtune`: what saved sweeps hold, from the command line."""

import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a chip may be in use by the sweep that is looked at

from vtune.command.main import main

if __name__ == "__main__":
    sys.exit(main())

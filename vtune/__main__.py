"""`python -m vtune`: what saved sweeps hold, from the command line."""

import os
import sys

from vtune.command.main import main

if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a chip may be in use by the sweep looked at
    for stream in (sys.stdout, sys.stderr):  # a terminal may not know the letters of a name
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())

"""The page on PyPI is the README without what it cannot show; all else is in pyproject.toml.

PyPI has no files beside a page: a picture or a link by a relative path leads nowhere there. They
are left out, and of a link its words stay. Once the repository has a public address, write it in
front of the path instead, and into `project.urls`.
"""

import re
from pathlib import Path

from setuptools import setup

PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?://)[^)]*\)\n*")
LINK = re.compile(r"\[([^\]]*)\]\((?!https?://|#)[^)]*\)")

page = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
setup(
    long_description=LINK.sub(r"\1", PICTURE.sub("", page)),
    long_description_content_type="text/markdown",
)

"""An extension of griffe, which reads the docstrings of the site: `f1 = documented(metric, "text")`
has that text."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import griffe


class DocumentedAttributes(griffe.Extension):
    """Gives an attribute the text that `documented` is called with."""

    def on_attribute_instance(
        self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **kwargs: Any
    ) -> None:
        """Looks at every assignment."""
        match node:
            case ast.Assign(
                value=ast.Call(
                    func=ast.Name(id="documented"), args=[_, ast.Constant(value=str(text))]
                )
            ):
                attr.docstring = griffe.Docstring(inspect.cleandoc(text), parent=attr)

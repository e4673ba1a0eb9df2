"""The house: imports go one way, folders say what they are for, and the public names are listed."""

import ast
import graphlib
import inspect
import re
from pathlib import Path

import pytest

import vtune as vt

ROOT = Path(vt.__file__).parent
# Bottom up. A folder may import those on earlier lines, and nothing else of vtune.
FLOORS = (
    ("identity", "saved_files", "aligned", "visible", "target", "host_memory"),
    ("types", "hparams", "validation", "returned", "caches", "free_memory", "keywords", "callers"),
    ("space", "metrics", "components", "rng"),
    ("search", "refine", "xla"),
    ("data", "learner"),
    ("engine",),
    ("runtime",),
    ("results",),
    ("log", "plots", "lora"),
    ("studies",),
    ("tuning",),
    ("costing", "report"),
    ("public", "command"),
    ("__init__",),
    ("sklearn", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PUBLIC_NAMES = Path(__file__).parent / "data" / "public_names.txt"


def modules():
    """Every module of vtune by its dotted name, such as "engine.run", with its source."""
    for file in sorted(ROOT.rglob("*.py")):
        yield ".".join(file.relative_to(ROOT).with_suffix("").parts), file.read_text()


MODULES = dict(modules())


def resolved(dotted):
    """The module that `vtune.<dotted>` is, or the package's own `__init__`."""
    for name in (dotted, f"{dotted}.__init__".lstrip(".")):
        if name in MODULES:
            return name
    return None


def imports(source):
    """The modules of vtune that a source imports anywhere, in functions and for types as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            is_module = lambda name: resolved(name.removeprefix("vtune.")) is not None
            names = [name if is_module(name) else node.module for name in inside]
        else:
            continue
        for name in names:
            if name == "vtune" or name.startswith("vtune."):
                yield resolved(name.removeprefix("vtune").lstrip(".")) or "__init__"


ARROWS = {name: set(imports(source)) - {name} for name, source in MODULES.items()}


def room(module):
    return module.split(".")[0]


def test_imports_go_one_way():
    against = [
        f"{module} imports {target}"
        for module, targets in ARROWS.items()
        for target in sorted(targets)
        if room(target) != room(module) and FLOOR[room(target)] >= FLOOR[room(module)]
    ]
    assert not against
    assert len(FLOORS) <= 15


def test_no_two_files_import_each_other():
    """No circle between files either. A folder's `__init__` imports what it hands on, so it is left
    out; so are the files' imports of their own folder's."""
    files = {
        module: {target for target in targets if not target.endswith("__init__")}
        for module, targets in ARROWS.items()
        if not module.endswith("__init__")
    }
    ordered = set(graphlib.TopologicalSorter(files).static_order())  # or CycleError with the circle
    assert ordered >= files.keys()


def test_every_folder_says_what_it_is_for():
    for module, source in MODULES.items():
        if module.endswith("__init__"):
            said = ast.get_docstring(ast.parse(source))
            assert said, f"{module} has no docstring"


def signature(value):
    """Parameters and their defaults, without annotations."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    plain = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    shown = str(found.replace(parameters=plain, return_annotation=found.empty))
    return re.sub(r" at 0x[0-9a-f]+", "", shown)


def described(name, value):
    """One line for a name, and one for each public member of a class."""
    if inspect.isclass(value):
        yield name + signature(value)
        for member in sorted(vars(value)):
            attribute = inspect.getattr_static(value, member)
            if member.startswith("_"):
                continue
            if isinstance(attribute, staticmethod | classmethod) or inspect.isfunction(attribute):
                yield f"{name}.{member}{signature(getattr(value, member))}"
            else:
                yield f"{name}.{member}"
    else:
        yield name + (signature(value) if callable(value) else "")


def public_names():
    import vtune.sklearn

    spaces = {"vt": vt, "vtune.sklearn": vtune.sklearn}
    spaces |= {f"vt.{n}": getattr(vt, n) for n in vt.__all__ if inspect.ismodule(getattr(vt, n))}
    for prefix, space in spaces.items():
        own = [n for n, v in vars(space).items() if getattr(v, "__module__", "") == space.__name__]
        for name in sorted(getattr(space, "__all__", own)):
            if not name.startswith("_"):
                yield from described(f"{prefix}.{name}", getattr(space, name))


def test_public_names_and_signatures_are_as_listed():
    """A name that comes, goes or changes is meant to: then say so in `CHANGELOG.md`, and write the
    list anew with `python tests/test_architecture.py`."""
    assert "\n".join(public_names()).splitlines() == PUBLIC_NAMES.read_text().splitlines()


def test_names_are_there_where_they_are_first_read():
    star = {}
    exec("from vtune import *", star)
    assert set(vt.__all__) <= star.keys()
    assert vt.search.Grid is vt.Grid is star["Grid"]
    assert callable(vt.cost)
    for name, says in (("Grib", "did you mean 'Grid'"), ("GridSearch", "write vt.Grid")):
        with pytest.raises(AttributeError, match=says):
            getattr(vt, name)
    with pytest.raises(AttributeError, match="module 'vtune' has no attribute '_own'"):
        _ = vt._own


def test_dir_shows_the_public_names_alone():
    assert {name for name in dir(vt) if not name.startswith("__")} == set(vt.__all__)


if __name__ == "__main__":
    PUBLIC_NAMES.write_text("\n".join(public_names()) + "\n")

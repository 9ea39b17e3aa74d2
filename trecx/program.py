"""Which parts of the program a function can reach, read from the source: a change of them makes a step run again.

Reached is what a definition names: functions, classes and constants of trecx and mlperf_tiny, and what those name, over
every import. The types in a function's signature say what comes in, and do not count. Comments, docstrings and layout
do not count either. Whoever asks for templates or firmware sources depends on all of them.
"""

import ast
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from trecx import resources

PACKAGES = ("trecx", "mlperf_tiny")
SOURCES = (".j2", ".c", ".h", ".ld")
# Reaching this means reading `templates/` and `firmware/`.
FOLDERS = ("trecx.resources", "folder")

# A definition by its module and name; the name None is what importing the module executes.
Symbol = tuple[str, str | None]


@dataclass(frozen=True)
class Module:
    """A module's source, by what it defines and where its names come from."""

    name: str
    tree: ast.Module

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """The statements that define each name at the top level."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            for name in _defined(statement):
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def executed(self) -> list[ast.stmt]:
        """What importing it executes besides imports and definitions."""
        return [
            one
            for one in self.tree.body
            if not (isinstance(one, ast.Import | ast.ImportFrom) or _defined(one) or _is_typing(one))
        ]

    @cached_property
    def imports(self) -> dict[str, tuple[str, str | None]]:
        """Where each imported name comes from: a module and the name in it, or None for the module itself."""
        return _imported([one for one in self.tree.body if isinstance(one, ast.Import | ast.ImportFrom)])


@dataclass(frozen=True)
class Program:
    """The source below `root`, of these packages."""

    root: Path
    packages: tuple[str, ...] = PACKAGES
    _read: dict[str, Module | None] = field(default_factory=dict, compare=False)

    def reached(self, start: Symbol) -> dict[Symbol, str]:
        """Every definition that `start` can reach, itself included, with its source as it counts."""
        found: dict[Symbol, str] = {}
        waiting = [start]
        while waiting:
            symbol = waiting.pop()
            module = self._module(symbol[0])
            if symbol in found or module is None:
                continue
            statements = module.executed if symbol[1] is None else module.definitions.get(symbol[1], [])
            found[symbol] = "\n".join(map(ast.unparse, statements))
            waiting.append((module.name, None))
            waiting += (one for statement in statements for one in self._named(module, statement))
        return found

    def _named(self, module: Module, statement: ast.stmt) -> Iterator[Symbol]:
        """What a statement names, in this program."""
        inner = [one for one in ast.walk(statement) if isinstance(one, ast.Import | ast.ImportFrom)]
        imports = {**module.imports, **_imported(inner)}
        for chain in _chains(statement):
            first, *rest = chain
            if first in imports:
                yield from self._resolved(*imports[first], rest)
            elif first in module.definitions:
                yield module.name, first

    def _resolved(self, name: str, within: str | None, rest: list[str]) -> Iterator[Symbol]:
        """What an imported name with attributes means: a definition, followed to where it is, or a whole module."""
        path = [*([within] if within else []), *rest]
        module = self._module(name)
        # A package's own definition hides its module of the same name.
        while path and module is not None and path[0] not in module.definitions and self._module(f"{name}.{path[0]}"):
            name, path = f"{name}.{path[0]}", path[1:]
            module = self._module(name)
        if module is None:
            return
        if not path:
            yield from ((name, one) for one in (*module.definitions, None))
        elif path[0] in module.definitions:
            yield name, path[0]
        elif path[0] in module.imports:
            yield name, None
            yield from self._resolved(*module.imports[path[0]], path[1:])

    def _module(self, name: str) -> Module | None:
        if name not in self._read:
            base = self.root.joinpath(*name.split("."))
            files = (base / "__init__.py", base.with_suffix(".py"))
            file = next((f for f in files if name.split(".")[0] in self.packages and f.is_file()), None)
            tree = None if file is None else _WithoutText().visit(ast.parse(file.read_bytes()))
            self._read[name] = None if tree is None else Module(name, tree)
        return self._read[name]


@cache
def _here() -> Program:
    return Program(resources.PACKAGE.parent)


@cache
def digest(start: Callable[..., Any]) -> str:
    """SHA-256 of all that a function of trecx can reach, and of templates and firmware sources where it reads them."""
    found = _here().reached((start.__module__, start.__qualname__))
    hashed = hashlib.sha256(repr(sorted(found.items(), key=str)).encode())
    if FOLDERS in found:
        hashed.update(_sources().encode())
    return hashed.hexdigest()


@cache
def _sources() -> str:
    """SHA-256 of the names and contents of templates and firmware sources."""
    hashed = hashlib.sha256()
    for root in map(resources.folder, ("templates", "firmware")):
        for file in sorted(path for path in root.rglob("*") if path.suffix in SOURCES):
            hashed.update(f"\0{file.relative_to(root)}\0".encode() + file.read_bytes())
    return hashed.hexdigest()


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _is_typing(statement: ast.stmt) -> bool:
    """Whether it is imported for type checkers only."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test).endswith("TYPE_CHECKING")


def _imported(statements: Sequence[ast.stmt]) -> dict[str, tuple[str, str | None]]:
    found: dict[str, tuple[str, str | None]] = {}
    for one in statements:
        if isinstance(one, ast.ImportFrom) and one.module is not None:
            found |= {alias.asname or alias.name: (one.module, alias.name) for alias in one.names}
        elif isinstance(one, ast.Import):
            # `import a.b` binds `a`; what it is used for follows from the attributes.
            for alias in one.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = (alias.name if alias.asname else top, None)
    return found


def _chains(statement: ast.stmt) -> Iterator[list[str]]:
    """Every name that is used, with the attributes that are asked of it: `a.b.c` is [a, b, c]."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        names: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield [inner.id, *names]
        elif isinstance(node, ast.Attribute):
            waiting.append(inner)
        else:
            waiting += _inside(node)


def _inside(node: ast.AST) -> list[ast.AST]:
    """The parts of a node but the types in a function's signature."""
    if not isinstance(node, ast.FunctionDef):
        return list(ast.iter_child_nodes(node))
    defaults = [one for one in (*node.args.defaults, *node.args.kw_defaults) if one is not None]
    return [*node.decorator_list, *defaults, *node.body]


class _WithoutText(ast.NodeTransformer):
    """Drops docstrings, which say nothing to the machine."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else node

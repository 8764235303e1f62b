"""The rules: each takes a :class:`~tests.architecture.tree.Tree`, and yields what breaks it, a line each."""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.architecture.owners import owners
from tests.architecture.rooms import APART, BANNED, LAYERS, MAX_FILES, MAX_FUNCTION, MAX_LINES, NEVER, ONLY, QUESTIONS
from tests.architecture.tree import Tree, within_room
from tests.twins import WITHOUT_TWIN

Rule = Callable[[Tree], Iterator[str]]


def layers(tree: Tree) -> Iterator[str]:
    """A room imports only what is below it."""
    floors = {room: floor for floor, row in enumerate(LAYERS) for room in row}
    for module in tree.modules.values():
        if not module.room:
            if module.path.name != "__init__.py":
                yield f"{module.name} is in no room of the layers"
            continue
        for imported in sorted(tree.imported(module)):
            room = tree.modules[imported].room if imported in tree.modules else ""
            if room and room != module.room and floors[room] >= floors[module.room]:
                yield f"{module.name} imports {imported}, which is not below it"


def apart(tree: Tree) -> Iterator[str]:
    """Some rooms never import some others."""
    for room, other in (*APART, *((b, a) for a, b in APART), *NEVER):
        for module in tree.within(room):
            yield from (f"{module.name} imports {name}" for name in sorted(tree.imported(module)) if within_room(name, other))


def circles(tree: Tree) -> Iterator[str]:
    """No module imports itself by way of others."""
    above: list[str] = []
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in above:
            yield " -> ".join([*above[above.index(name) :], name])
        elif name not in done:
            above.append(name)
            for imported in sorted(tree.imported(tree.modules[name]) & tree.modules.keys()):
                yield from visit(imported)
            above.pop()
            done.add(name)

    for name in tree.modules:
        yield from visit(name)


def bans(tree: Tree) -> Iterator[str]:
    """Some libraries are for some rooms only, and a reactor is never imported before it is wanted."""
    for module in tree.modules.values():
        for source, _ in module.imports():
            library = source.partition(".")[0]
            if library in BANNED.get(module.room, ()):
                yield f"{module.name} imports {source}"
            if library in ONLY and not within_room(module.name, ONLY[library]):
                yield f"{module.name} imports {source}, which is {ONLY[library]}'s"
        for source, name in module.imports(at_once=True):
            if "twisted.internet.reactor" in (source, f"{source}.{name}"):
                yield f"{module.name} imports the reactor when it is itself imported"


def sizes(tree: Tree) -> Iterator[str]:
    """No folder, file or function is too large."""
    for folder in sorted({module.path.parent for module in tree.modules.values()}):
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        if count > MAX_FILES:
            yield f"{folder.relative_to(tree.root)} has {count} files"
    for module in tree.modules.values():
        lines = len(module.path.read_text().splitlines())
        if lines > MAX_LINES:
            yield f"{module.name} has {lines} lines"
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    yield f"{module.name}.{node.name} has {length} lines"


def maps(tree: Tree) -> Iterator[str]:
    """Each package's docstring is a map of it: it names all modules inside."""
    for package in tree.packages:
        text = ast.get_docstring(package.tree) or ""
        names = {path.stem for path in package.path.parent.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
        unnamed = [name for name in sorted(names) if name[0] != "_" and not re.search(rf"\b{name}\b", text)]
        yield from (f"{package.name} does not name {name}" for name in unnamed)


def paths(tree: Tree) -> Iterator[str]:
    """Each path of a Python file that a page names exists."""
    bases = (tree.root, tree.root / "nbdtun", tree.root / "tests", tree.root / "bench", Path(sysconfig.get_path("purelib")))
    for page in tree.pages:
        for named in sorted(set(re.findall(r"[\w./]+/\w+\.py\b", page.read_text()))):
            if not any((base / named).exists() for base in bases):
                yield f"{page.relative_to(tree.root)} names {named}, which does not exist"


def namespaces(tree: Tree) -> Iterator[str]:
    """Each namespace that the command filters its log by is a module, or a package."""
    for node in ast.walk(tree.modules["cli.log"].tree):
        named = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if re.fullmatch(r"nbdtun\.[\w.]+", named) and named.removeprefix("nbdtun.") not in tree.modules:
            yield f"cli.log filters by {named}, which is no module"


def reasons(tree: Tree) -> Iterator[str]:
    """What catches every error, and does not raise it again, says why in the same line; and no function is without its types."""
    for module in tree.modules.values():
        lines = module.path.read_text().splitlines()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and not any(isinstance(each, ast.Raise) for each in ast.walk(node)):
                line = lines[node.lineno - 1]
                if re.search(r"except( \(?(Base)?Exception\b|:)", line) and "  # " not in line:
                    yield f"{module.name}:{node.lineno} catches every error, and says not why"
        yield from (f"{module.name}:{number} has no types" for number, line in enumerate(lines, 1) if "no-untyped-def" in line)


def questions(tree: Tree) -> Iterator[str]:
    """A newcomer's questions have their answers where the plan says."""
    for question, (path, name) in QUESTIONS.items():
        file = tree.root / "nbdtun" / path
        if not file.exists() or name not in _defined(ast.parse(file.read_text())):
            yield f"{question}: {path} has no {name}"


def twins(tree: Tree) -> Iterator[str]:
    """Each module has its test, at the same place below tests/, or a reason why not."""
    for module in tree.modules.values():
        if module.path.stem in ("__init__", "__main__"):
            continue
        parts = module.name.split(".")
        twin = tree.root.joinpath("tests", *parts[:-1], f"test_{parts[-1]}.py")
        if not twin.exists() and f"nbdtun.{module.name}" not in WITHOUT_TWIN:
            yield f"{module.name} has no test {twin.relative_to(tree.root)}"


RULES: tuple[Rule, ...] = (layers, apart, circles, bans, sizes, maps, paths, namespaces, reasons, questions, owners, twins)


def _defined(tree: ast.Module) -> set[str]:
    found = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    return found | {target.id for node in ast.walk(tree) for target in _targets(node) if isinstance(target, ast.Name)}


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []

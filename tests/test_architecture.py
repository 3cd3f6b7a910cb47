"""The house, held: rooms point down, no circles, nothing heavy before it is needed, and each room says what it is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rollwise

SOURCE = Path(rollwise.__file__).parent
ROOMS = [  # from the ground up: a room imports from rooms before it only, inside functions too
    "errors",
    "lazy",
    "database",
    "cluster",
    "core",
    "numerics",
    "plugins",
    "directions",
    "allocation",
    "models",
    "names",
    "engines",
    "engines.local",
    "engines.http",
    "answers",
    "worlds",
    "calibration",
    "rewards",
    "registry",
    "search",
    "data",
    "simulation",
    "training",
    "bench",
    "replay",
    "report",
    "pilot",
    "openai_format",
    "ui",
    "model_server",
    "service",
    "testing",
    "cli",
]
FREE_OF_IO = [
    *(
        "numerics",
        "core",
        "allocation",
        "directions.kernel",
        "answers.arithmetic",
        "answers.voting",
        "answers.stopping",
    ),
    *(
        "calibration.observations",
        "calibration.estimators",
        "calibration.fit",
        "calibration.record",
        "calibration.regression",
    ),
    *("search.events", "search.machine"),
]
HEAVY = [
    *("torch", "transformers", "httpx", "fastapi", "uvicorn", "sqlalchemy", "sentence_transformers"),
    *("alembic", "psycopg", "ray"),
    *("scipy", "pydantic"),
]
FILES = [file for file in sorted(SOURCE.rglob("*.py")) if file.parent != SOURCE or not file.name.startswith("__")]
NAMES = {".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}
PACKAGES = [name for name, file in NAMES.items() if file.name == "__init__.py"]


def room_of(module: str) -> str:
    """The room of a module named without `rollwise.`; the longest name in ROOMS that it lies in."""
    inside = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
    assert inside, f"{module} lies in no room: name it in ROOMS, where it belongs"
    return max(inside, key=len)


def imports_of(file: Path, typing_too: bool = False) -> set[tuple[str, str]]:
    """(module, name) of everything that a file imports from rollwise, in functions too; the module without `rollwise.`.

    A submodule imported from its package counts as the module.
    """
    found: set[tuple[str, str]] = set()
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing_too:
            continue
        if isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.startswith("rollwise.")], f"{file}: use from"
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            package, _, module = (node.module or "").partition(".")
            for alias in node.names if package == "rollwise" else []:
                whole = f"{module}.{alias.name}".lstrip(".")
                found.add((whole, "") if whole in NAMES else (module, alias.name))
        waiting.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_down(name: str) -> None:
    own = room_of(name)
    for module, _ in imports_of(NAMES[name], typing_too=True):
        if module and not (NAMES[name].name == "__init__.py" and module.startswith(f"{name}.")):
            assert ROOMS.index(room_of(module)) <= ROOMS.index(own), f"{own} imports upwards: {module}"


def test_no_module_is_part_of_a_circle() -> None:
    graph = {name: {module for module, _ in imports_of(file) if module in NAMES} for name, file in NAMES.items()}
    for package in PACKAGES:  # a room's face hands on what its modules hold; modules of a room do not import their face
        graph[package] = set()
    while graph:
        leaves = {name for name, needed in graph.items() if not needed - {name}}
        assert leaves, f"import circle among {sorted(graph)}"
        graph = {name: needed - leaves for name, needed in graph.items() if name not in leaves}


@pytest.mark.parametrize("name", NAMES)
def test_a_room_is_entered_by_what_it_exports(name: str) -> None:
    own = room_of(name)
    for module, imported in imports_of(NAMES[name], typing_too=True):
        if module and room_of(module) != own and own != "cli":
            assert module == room_of(module), f"{name} reaches into {module}; import from {room_of(module)}"
            assert not imported or NAMES[module].name != "__init__.py" or imported in exported(module), (
                f"{name} imports {imported}, which {module} does not export"
            )


def exported(package: str) -> list[str]:
    tree = ast.parse(NAMES[package].read_text(encoding="utf-8"))
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    ]
    return [str(name) for value in lists for name in ast.literal_eval(value)]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_says_in_one_sentence_what_lives_there(package: str) -> None:
    said = ast.get_docstring(ast.parse(NAMES[package].read_text(encoding="utf-8")))
    assert said, f"{package}/__init__.py says nothing"
    assert said.partition("\n\n")[0].rstrip().endswith(".")


@pytest.mark.parametrize("package", [package for package in PACKAGES if exported(package)])
def test_every_exported_name_is_there(package: str) -> None:
    """A name of an extra that is not installed may say so; a name that does not exist may not."""
    code = f"""
import rollwise.{package} as room
from rollwise.errors import MissingExtraError
for name in room.__all__:
    try:
        getattr(room, name)
    except MissingExtraError:
        pass
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_few_files_lie_beside_the_rooms() -> None:
    beside = {file.stem for file in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert beside <= {"errors", "lazy", "registry", "plugins", "numerics", "names"}


@pytest.mark.parametrize("name", [name for name in NAMES if any(name.startswith(pure) for pure in FREE_OF_IO)])
def test_the_mathematics_imports_numpy_and_scipy_only(name: str) -> None:
    tree = ast.parse(NAMES[name].read_text(encoding="utf-8"))
    used = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    used |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert used <= {*sys.stdlib_module_names, "numpy", "scipy", "rollwise"}
    assert not used & {"asyncio", "socket", "subprocess", "threading", "time", "random"}


@pytest.mark.parametrize("statement", ["import rollwise", "from rollwise import cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

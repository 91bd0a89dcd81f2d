"""Run by `baskd doctor` with the interpreter that would run the controller; prints what it finds as JSON.

Nothing of the user's is executed: what the controller imports is read from its source, and looked up without importing it.
"""

import sys

# By `-c`, the working folder comes first: what lies there under a name of the standard library's would be executed.
sys.path[:] = [folder for folder in sys.path if folder]

import ast  # noqa: E402
import importlib.machinery  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402


def imports(path):
    """Top-level names that the file can't do without, each with the line where it is asked for."""
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    found = {}
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.setdefault(alias.name.partition(".")[0], node.lineno)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.setdefault(node.module.partition(".")[0], node.lineno)
        elif isinstance(node, (ast.With, ast.ClassDef)):
            waiting.extend(node.body)
        # What stands in `if` or `try`, or in a function, may never be needed.
    return found


def find(name, folder):
    """Where a name is, first beside the controller: in that folder it is looked for, and nothing is imported from it."""
    beside = None if name in sys.modules else importlib.machinery.PathFinder.find_spec(name, [folder])
    # A mere folder of that name counts only where there is no package.
    if beside is not None and beside.origin:
        return beside
    return importlib.util.find_spec(name) or beside


def missing(path, folder, own, seen):
    """[module, file, line] of what can't be found; goes through modules that lie beside the controller, too."""
    seen.add(path)
    result = []
    for name, line in imports(path).items():
        if name in own or name in sys.builtin_module_names:
            continue
        try:
            spec = find(name, folder)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None:
            result.append([name, path, line])
            continue
        origin = spec.origin or ""
        beside = os.path.dirname(path) + os.sep
        if origin.endswith(".py") and origin.startswith(beside) and "site-packages" not in origin and origin not in seen:
            result.extend(missing(origin, folder, own, seen))
    return result


def main():
    told = {
        "version": "%d.%d.%d" % sys.version_info[:3],
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "codecs": [name for name in ("msgspec", "orjson") if importlib.util.find_spec(name)],
        "pip": importlib.util.find_spec("pip") is not None,
    }
    controller = sys.argv[1] if len(sys.argv) > 1 else ""
    if controller:
        path = os.path.abspath(controller)
        try:
            told["missing"] = missing(path, os.path.dirname(path), {"baskd", "basecontroller"}, set())
        except SyntaxError as error:
            told["syntax"] = [str(error.msg), str(error.filename), error.lineno or 0]
        except (OSError, ValueError) as error:
            told["unreadable"] = str(error)
    print(json.dumps(told))


main()

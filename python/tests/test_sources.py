"""The files that the daemon is told of: those that a controller is made of, or that keep it from starting."""

from __future__ import annotations

import os
import tempfile
import unittest
import zipfile
from pathlib import Path
from typing import Any, Optional

from tests.support import PYTHON, Spawned

CONTROLLER = "class Controller:\n def f(self): return 1\n"


class TestFiles(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="baskd-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def named(self, files: list[str]) -> list[str]:
        """Relative to the folder, where they are in it."""
        return [
            os.path.relpath(file, self.folder) if Path(file).is_relative_to(self.folder) else file for file in files
        ]

    def ready(self, controller: Any, **more: Any) -> list[str]:
        with Spawned(controller, cwd=str(self.folder), **more) as router:
            return self.named(router.ready["files"])

    def failed(self, controller: Any, stage: str = "import", environment: Optional[dict[str, str]] = None) -> list[str]:
        with Spawned(controller, ready=False, cwd=str(self.folder), environment=environment) as router:
            failed = router.read()["failed"]
            self.assertEqual(failed["stage"], stage, failed)
            return self.named(failed["files"])

    def test_what_was_imported_and_is_the_users(self) -> None:
        self.write(
            {
                "controller.py": "import json, helper, pkg.deep\nfrom basecontroller import BaseController\n"
                + CONTROLLER,
                "helper.py": "x = 1",
                "pkg/__init__.py": "",
                "pkg/deep.py": "import space.inner",
                "space/inner.py": "",  # A namespace package: it has no file of its own.
                "not_imported.py": "",
            }
        )
        files = self.ready(self.folder / "controller.py")
        self.assertEqual(files[0], "controller.py")
        self.assertEqual(
            sorted(files), ["controller.py", "helper.py", "pkg/__init__.py", "pkg/deep.py", "space/inner.py"]
        )

    def test_what_a_hook_imports(self) -> None:
        self.write(
            {
                "controller.py": CONTROLLER + " def on_start(self): import late\n",
                "late.py": "",
            }
        )
        self.assertEqual(self.ready(self.folder / "controller.py"), ["controller.py", "late.py"])

    def test_a_module_of_a_package(self) -> None:
        self.write(
            {"app/__init__.py": "", "app/control.py": "from .parts import Controller", "app/parts.py": CONTROLLER}
        )
        module = {"module": "app.control", "class": "Controller"}
        self.assertEqual(self.ready(module), ["app/control.py", "app/parts.py", "app/__init__.py"])

    def test_the_example(self) -> None:
        self.assertEqual(self.ready(None), [str(PYTHON / "controller.py")])

    def test_zipped_modules(self) -> None:
        with zipfile.ZipFile(self.folder / "all.zip", "w") as archive:
            archive.writestr("zipped/__init__.py", "from .part import Controller")
            archive.writestr("zipped/part.py", CONTROLLER)
            archive.writestr("zipped/broken.py", "1 / 0")
            archive.writestr("zipped/wrong.py", "x = (")
        environment = {"PYTHONPATH": str(self.folder / "all.zip")}
        self.assertEqual(self.ready({"module": "zipped", "class": "Controller"}, environment=environment), ["all.zip"])
        for name in ("broken", "wrong"):
            files = self.failed({"module": f"zipped.{name}", "class": "Controller"}, environment=environment)
            self.assertIn("all.zip", files)

    def test_strange_modules(self) -> None:
        """None for a module, one without a file, one that would load only now, an object, a name that is no UTF-8."""
        lines = [
            "import sys, types, importlib.util, os",
            "sys.modules['nothing'] = None",
            "sys.modules['bare'] = types.ModuleType('bare')",
            "sys.modules['odd'] = types.ModuleType('odd')",
            "sys.modules['odd'].__file__ = 7",
            "sys.modules['thing'] = object()",
            "sys.modules['undecodable'] = types.ModuleType('undecodable')",
            "sys.modules['undecodable'].__file__ = os.fsdecode(b'/x/\\xff.py')",
            "sys.modules['relative'] = types.ModuleType('relative')",
            "sys.modules['relative'].__file__ = './relative.py'",
            "spec = importlib.util.find_spec('lazy')",
            "spec.loader = importlib.util.LazyLoader(spec.loader)",
            "sys.modules['lazy'] = importlib.util.module_from_spec(spec)",
            "spec.loader.exec_module(sys.modules['lazy'])",
            CONTROLLER,
        ]
        self.write({"controller.py": "\n".join(lines), "lazy.py": "raise SystemExit('it was loaded')\n"})
        self.assertEqual(self.ready(self.folder / "controller.py"), ["controller.py", "relative.py", "lazy.py"])

    def test_what_is_installed_is_left_out(self) -> None:
        self.write(
            {"lib/site-packages/library.py": "", "lib/site-packages/installed.py": f"import library\n{CONTROLLER}"}
        )
        environment = {"PYTHONPATH": str(self.folder / "lib/site-packages")}
        self.write({"controller.py": f"import library\n{CONTROLLER}"})
        self.assertEqual(self.ready(self.folder / "controller.py", environment=environment), ["controller.py"])
        module = {"module": "installed", "class": "Controller"}  # The controller itself is not.
        self.assertEqual(self.ready(module, environment=environment), ["lib/site-packages/installed.py"])

    def test_not_too_many(self) -> None:
        lines = ["import sys, types", "for n in range(2000):", " m = sys.modules[f'm{n}'] = types.ModuleType(f'm{n}')"]
        self.write({"controller.py": "\n".join([*lines, " m.__file__ = f'/nowhere/m{n}.py'", CONTROLLER])})
        files = self.ready(self.folder / "controller.py")
        self.assertEqual((len(files), files[0], files[-1]), (1000, "controller.py", "/nowhere/m998.py"))

    def test_errors_in_the_controller(self) -> None:
        for text, stage in [
            ("x = (", "import"),
            ("1 / 0", "import"),
            ("x = 1", "import"),
            ("\0", "import"),
            ("import sys\nsys.exit(1)", "import"),
            (CONTROLLER + " def __init__(self): 1 / 0", "construct"),
            (CONTROLLER + " def on_snapshot(self, x): pass", "construct"),
            (CONTROLLER + " def on_start(self): 1 / 0", "on_start"),
        ]:
            self.write({"controller.py": text})
            self.assertEqual(self.failed(self.folder / "controller.py", stage), ["controller.py"], text)

    def test_errors_in_a_helper(self) -> None:
        self.write({"controller.py": f"import other, helper\n{CONTROLLER}", "other.py": ""})
        for text in ("x = (", "import json\njson.loads('no')", "from other import missing"):
            self.write({"helper.py": text})
            files = self.failed(self.folder / "controller.py")
            self.assertEqual(sorted(files), ["controller.py", "helper.py", "other.py"], text)

    def test_an_error_that_came_of_another(self) -> None:
        self.write(
            {
                "controller.py": "try:\n import first\nexcept SyntaxError as e:\n raise ValueError() from e\n",
                "first.py": "import second",
                "second.py": "x = (",
            }
        )
        self.assertEqual(sorted(self.failed(self.folder / "controller.py")), ["controller.py", "first.py", "second.py"])

    def test_what_is_missing_is_named_where_it_would_be(self) -> None:
        self.write({"controller.py": f"import helper\n{CONTROLLER}"})
        wanted = ["controller.py", "helper.py", "helper/__init__.py"]
        self.assertEqual(self.failed(self.folder / "controller.py"), wanted)
        self.assertEqual(self.failed(self.folder / "gone.py"), ["gone.py"])
        module = {"module": "app.control", "class": "Controller"}
        self.assertEqual(
            sorted(self.failed(module)), ["app.py", "app/__init__.py", "app/control.py", "app/control/__init__.py"]
        )

    def test_a_failure_in_what_is_installed(self) -> None:
        self.write({"lib/site-packages/library.py": "1 / 0", "controller.py": f"import library\n{CONTROLLER}"})
        environment = {"PYTHONPATH": str(self.folder / "lib/site-packages")}
        files = self.failed(self.folder / "controller.py", environment=environment)
        self.assertEqual(files, ["controller.py", "lib/site-packages/library.py"])

    def test_a_working_folder_that_is_gone(self) -> None:
        text = f"import os, tempfile\nf = tempfile.mkdtemp()\nos.chdir(f)\nos.rmdir(f)\n{CONTROLLER}"
        self.write({"controller.py": text})
        self.assertEqual(self.ready(self.folder / "controller.py"), ["controller.py"])
        self.write({"controller.py": f"{text}import helper"})
        self.assertEqual(self.failed(self.folder / "controller.py")[0], "controller.py")
        gone = "import os, shutil\nshutil.rmtree(os.getcwd())\nimport missing\n"
        self.write({"app.py": gone})
        self.assertEqual(self.failed({"module": "app", "class": "Controller"}), ["app.py"])

    def test_none_of_them_is_of_python_itself(self) -> None:
        self.write({"controller.py": f"import asyncio, unittest.mock, sqlite3, http.server\n{CONTROLLER}"})
        self.assertEqual(self.ready(self.folder / "controller.py"), ["controller.py"])

"""Which Python runs the controller: real venvs, a stand-in for uv, links that lead nowhere; and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

from support.case import DaemonTest
from support.daemon import Daemon, Places

CONTROLLER = """
import sys

class Controller:
    def prefix(self):
        return sys.prefix
"""
VERSION = "{}.{}".format(*sys.version_info[:2])


class Project(DaemonTest):
    """A project in a folder of its own, `app`, with its controller in `app/python`."""

    own_daemon = True

    def setUp(self) -> None:
        self.user: Places = self.places()
        self.app = self.user.root / "app"
        self.controller_file = self.write("app/python/controller.py", CONTROLLER)
        self.bin = self.user.root / "bin"
        self.bin.mkdir()
        # What a plain `python3` is, as by its own name.
        self.real = Path(sys.executable).resolve()
        (self.bin / "python3").symlink_to(self.real)

    def write(self, path: str, text: str) -> Path:
        file = self.user.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def program(self, path: Path, script: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def venv(self, folder: Path) -> Path:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
        return folder

    def environment(self, **more: str) -> dict[str, str]:
        # Nothing of this machine's.
        return {"PATH": f"{self.bin}:{self.user.root / 'tools'}", "PYENV_ROOT": "/nonexistent", **more}

    def serve(self, *flags: str, **env: str) -> Daemon:
        options: dict[str, Any] = {"python": None, "places": self.user, "env": self.environment(**env)}
        return self.start(self.controller_file, *flags, **options)

    def finds(self, found: str, prefix: Optional[Path], *flags: str, **env: str) -> Daemon:
        """Starts a daemon that finds its Python so; in the venv at `prefix`, or in none."""
        daemon = self.serve(*flags, **env)
        with daemon.connect() as connection:
            self.assertEqual(connection.call("prefix"), str(prefix) if prefix else sys.base_prefix)
            self.assertEqual(connection.call("daemon.status")["python"]["found"], found)
        page = self.user.run("status").stdout
        self.assertIn(f"; {found}", page)
        daemon.close()
        return daemon

    def refused(self, *flags: str, **env: str) -> str:
        """What is said where no daemon is started for it."""
        environment = self.user.environment(**self.environment(**env))
        done = self.user.run("serve", self.controller_file, *flags, env=environment)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr


class Found(Project):
    def test_a_venv_nearer_and_nearer(self) -> None:
        self.finds("python3 on the PATH", None)
        above = self.venv(self.app / ".venv")
        self.finds(".venv above the controller", above)
        beside = self.venv(self.app / "python" / ".venv")
        self.finds(".venv beside the controller", beside)
        active = self.venv(self.user.root / "active")
        self.finds("$VIRTUAL_ENV", active, VIRTUAL_ENV=str(active))
        self.finds("the venv asked for", above, "--python", str(above), VIRTUAL_ENV=str(active))
        self.finds("the interpreter asked for", above, "--python", f"{above}/bin/python")
        self.finds("the name asked for, on the PATH", None, "--python", "python3")

    def test_a_venv_of_another_name(self) -> None:
        self.write("app/pyproject.toml", "[project]\nname = 'app'\n")
        env = self.venv(self.app / "env")
        self.finds("env of the project", env)
        venv = self.venv(self.app / "python" / "venv")
        self.finds("venv beside the controller", venv)

    def test_a_project_that_is_named(self) -> None:
        other = self.user.root / "other"
        self.write("other/pyproject.toml", "[project]\nname = 'other'\n")
        self.assertIn(f"the project {other} has no venv: make one with `", self.refused("--python", str(other)))
        venv = self.venv(other / ".venv")
        self.finds(".venv of the project asked for", venv, "--python", str(other))
        # The same in the config, whose paths are relative to it.
        self.write("config/baskd/default.toml", "python = '../../other'\n")
        self.finds(".venv of the project asked for", venv)

    def test_a_project_of_uvs(self) -> None:
        self.write("app/pyproject.toml", "[project]\nname = 'app'\ndependencies = ['numpy>=2']\n")
        self.write("app/uv.lock", "version = 1\n")
        chosen = self.user.root / "managed" / "python3"
        chosen.parent.mkdir()
        chosen.symlink_to(self.real)
        asked = self.user.root / "asked"
        self.program(self.user.root / "tools" / "uv", f'echo "$*" > {asked}; echo {chosen}')
        daemon = self.finds("uv python find", None)
        self.assertEqual(asked.read_text(), f"python find --offline --no-python-downloads --project {self.app}\n")
        daemon.wait_for_log(rf"WARN .*pyproject.toml names packages \(numpy\).*`cd {self.app} && uv sync`")
        # One that fails, or does not answer what it should, is passed over.
        self.program(self.user.root / "tools" / "uv", "echo 'no interpreter' >&2; exit 2")
        self.finds("python3 on the PATH", None)
        environment = self.venv(self.app / "made-by-uv")
        self.finds("$UV_PROJECT_ENVIRONMENT", environment, UV_PROJECT_ENVIRONMENT="made-by-uv")
        venv = self.venv(self.app / ".venv")
        self.finds(".venv above the controller", venv, UV_PROJECT_ENVIRONMENT="made-by-uv")

    def test_what_the_project_requires(self) -> None:
        self.write("app/pyproject.toml", f"[project]\nrequires-python = '=={VERSION}.*'\n")
        self.finds(f'python3 on the PATH, for requires-python "=={VERSION}.*"', None)
        (self.bin / "python3").unlink()
        (self.bin / f"python{VERSION}").symlink_to(self.real)
        self.finds(f'python{VERSION} on the PATH, for requires-python "=={VERSION}.*"', None)
        self.write("app/.python-version", f"{VERSION}\n")
        self.finds(f".python-version ({VERSION}), python{VERSION} on the PATH", None)

    def test_environments_of_others(self) -> None:
        venv = self.venv(self.user.root / "elsewhere")
        base = self.user.root / "conda"
        self.finds("python3 on the PATH", None, CONDA_PREFIX=str(base), CONDA_DEFAULT_ENV="base")
        self.finds("$CONDA_PREFIX", venv, CONDA_PREFIX=str(venv), CONDA_DEFAULT_ENV="mine")
        self.write("app/pyproject.toml", "[project]\nname = 'app'\n")
        self.write("app/.pdm-python", f"{venv}/bin/python\n")
        self.finds(".pdm-python of the project", venv)


class Refused(Project):
    def test_a_version_that_nobody_has(self) -> None:
        self.write("app/pyproject.toml", "[project]\nrequires-python = '>=3.99'\n")
        said = self.refused()
        self.assertIn(f"{self.app}/pyproject.toml wants Python >=3.99, and there is only {VERSION}", said)
        self.assertIn("or name an interpreter with --python", said)

    def test_one_that_is_too_old(self) -> None:
        self.program(self.user.root / "old" / "python2.7", "exit 1")
        old = self.user.root / "python"
        old.symlink_to("old/python2.7")
        said = self.refused("--python", str(old))
        self.assertIn(f"{old} (the interpreter asked for) is Python 2.7, and 3.9 or newer is needed", said)
        venv = self.venv(self.app / ".venv")
        (venv / "pyvenv.cfg").write_text("version = 3.8.10\n")
        self.assertIn("(.venv above the controller) is Python 3.8.10", self.refused())

    def test_a_venv_whose_python_is_gone(self) -> None:
        copy = self.user.root / "opt" / "python3"
        copy.parent.mkdir()
        copy.symlink_to(self.real)
        venv = self.app / ".venv"
        self.venv(venv)
        link = venv / "bin" / "python"
        link.unlink()
        link.symlink_to(copy)
        self.finds(".venv above the controller", venv)
        copy.unlink()
        said = self.refused()
        self.assertIn(f"{link} (.venv above the controller) is a link to {copy}, which is not there", said)
        self.assertIn(f"`python3 -m venv --clear {venv}`", said)

    def test_what_is_not_executable_or_not_there(self) -> None:
        text = self.write("text", "hello")
        self.assertIn(f"is not executable: `chmod +x {text}`", self.refused("--python", str(text)))
        said = self.refused("--python", str(self.user.root / "nothing"))
        self.assertIn("there is no Python at", said)
        self.assertIn("has no bin/python", self.refused("--python", str(self.bin)))

    def test_none_at_all(self) -> None:
        (self.bin / "python3").unlink()
        environment = {"PATH": str(self.bin)}
        self.assertIn("there is no python3 on the PATH: install Python 3.9", self.refused(**environment))


class NotStarted(Project):
    """What only its start can tell: the daemon serves, and says why there is no Python."""

    def why(self, daemon: Daemon) -> str:
        with daemon.connect() as connection:
            answer = connection.answer(connection.request("prefix"))
            self.assertError(answer["error"], -32022)
            reason: str = answer["error"]["data"]["reason"]
            return reason

    def test_a_program_of_another_machine(self) -> None:
        elf = bytearray(Path("/proc/self/exe").read_bytes()[:64])
        other = 62 if os.uname().machine == "aarch64" else 183
        elf[18:20] = other.to_bytes(2, "little")
        foreign = self.user.root / "foreign"
        foreign.write_bytes(elf)
        foreign.chmod(0o755)
        daemon = self.serve("--python", str(foreign))
        self.assertRegex(
            self.why(daemon), r"; it was made for .*, and this machine runs .*: install a Python for this one"
        )

    def test_a_script_without_its_interpreter(self) -> None:
        script = self.write("script", "#!/opt/gone/python3\n")
        script.chmod(0o755)
        reason = self.why(self.serve("--python", str(script)))
        self.assertIn("it is a script for /opt/gone/python3, which is not there", reason)

    def test_a_venv_that_goes_while_the_daemon_runs(self) -> None:
        venv = self.venv(self.app / ".venv")
        daemon = self.serve()
        connection = self.connect(daemon)
        self.assertEqual(connection.call("prefix"), str(venv))
        shutil.rmtree(venv)
        answer = connection.answer(connection.request("daemon.restart"))
        self.assertError(answer["error"], -32022)
        self.assertIn("it was there when the daemon was started: make the venv anew", answer["error"]["data"]["reason"])

    def test_one_that_is_too_old_and_whose_files_do_not_tell(self) -> None:
        """The router says so, which older Pythons have to be able to read."""
        pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
        found = [path for version in ("2.7", "3.6", "3.8") for path in pyenv.glob(f"{version}*/bin/python")]
        if not found:
            self.skipTest("no Python older than 3.9 is here: 2.7, 3.6 or 3.8 among pyenv's versions")
        for old in found:
            wrapper = self.program(self.user.root / "wrapper", f'exec {old} "$@"')
            with self.serve("--python", str(wrapper)) as daemon, daemon.connect() as connection:
                error = connection.answer(connection.request("prefix"))["error"]
                self.assertError(error, -32022)
                self.assertIn("baskd needs Python 3.9 or newer, and ", "".join(error["data"]["stderr"]))

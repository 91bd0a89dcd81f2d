"""Completions and manual pages, judged by the shells and by the readers of manual pages themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar

from support.daemon import binary

#: Whose reason is that no page has a date: it is the same whenever it is made.
NO_DATE = 'WARNING: missing date, using "": TH'


def run(*command: str | Path, text: str | None = None) -> str:
    ended = subprocess.run(
        [*map(str, command)], input=text, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT
    )
    if ended.returncode:
        raise AssertionError(f"{command} exited with {ended.returncode}: {ended.stdout}{ended.stderr}")
    return ended.stdout + ended.stderr


#: Nothing of the user's: what a shell is set up with would count as well.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "TERM": "dumb"}


class Completions(unittest.TestCase):
    def script(self, shell: str) -> str:
        return run(binary(), "completions", shell)

    def file(self, name: str, text: str) -> Path:
        folder = tempfile.TemporaryDirectory(prefix="baskd-completions-")
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / name
        path.write_text(text)
        return path

    def need(self, program: str) -> None:
        if not shutil.which(program, path=ENVIRONMENT["PATH"]):
            self.skipTest(f"{program} is not installed: its completions are not tried")

    def test_bash(self) -> None:
        path = self.file("baskd.bash", self.script("bash"))
        ask = f"""
            source '{path}'
            complete -p baskd
            complete_it() {{
                COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
                _baskd baskd "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
                echo "${{COMPREPLY[@]}}"
            }}
            complete_it baskd conf
            complete_it baskd config --de
            complete_it baskd serve --work
            complete_it baskd completions z
        """
        said = run("bash", "--norc", "--noprofile", "-c", ask).splitlines()
        self.assertRegex(said[0], "^complete .*-F _baskd .*baskd$")
        self.assertEqual(said[1:], ["config", "--default", "--workers", "zsh"])

    def test_zsh(self) -> None:
        self.need("zsh")
        # As a user would install it: a file of that name in $fpath.
        path = self.file("_baskd", self.script("zsh"))
        run("zsh", "-f", "-n", path)
        ask = f"""
            fpath=('{path.parent}' $fpath)
            autoload -Uz compinit && compinit -u -D
            print -- $_comps[baskd]
            autoload +X _baskd && print loaded
        """
        self.assertEqual(run("zsh", "-f", "-c", ask).splitlines(), ["_baskd", "loaded"])

    def test_fish(self) -> None:
        self.need("fish")
        path = self.file("baskd.fish", self.script("fish"))
        ask = f"source '{path}'; complete -C 'baskd conf'; complete -C 'baskd serve --work'"
        said = run("fish", "--no-config", "-c", ask).splitlines()
        self.assertEqual([line.split("\t")[0] for line in said], ["config", "--workers"])

    def test_others_are_printed(self) -> None:
        for shell in ("elvish", "powershell"):
            self.assertIn("baskd;config", self.script(shell))


class ManualPages(unittest.TestCase):
    folder: ClassVar[Path]
    pages: ClassVar[list[Path]]

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="baskd-man-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        run(binary(), "man", "--dir", cls.folder)
        cls.pages = sorted(cls.folder.iterdir())

    def need(self, program: str) -> None:
        if not shutil.which(program, path=ENVIRONMENT["PATH"]):
            self.skipTest(f"{program} is not installed: the pages are not read by it")

    def commands(self) -> list[str]:
        """As the help lists them."""
        help_text = run(binary(), "--help").split("Commands:\n")[1].split("\n\n")[0]
        return [line.split()[0] for line in help_text.splitlines() if line[2:3].strip()]

    def test_each_command_has_a_page(self) -> None:
        names = {f"baskd-{name}.1" for name in self.commands()} | {"baskd.1"}
        self.assertEqual({page.name for page in self.pages}, names)
        self.assertGreater(len(names), 10)
        self.assertEqual(run(binary(), "man"), (self.folder / "baskd.1").read_text())
        self.assertEqual(run(binary(), "man", "serve"), (self.folder / "baskd-serve.1").read_text())

    def test_groff_reads_them_without_a_warning(self) -> None:
        self.need("groff")
        for page in self.pages:
            said = subprocess.run(
                ["groff", "-man", "-ww", "-Tutf8", page], capture_output=True, text=True, timeout=60, check=True
            )
            self.assertEqual(said.stderr, "", page.name)
            text = re.sub(".\x08", "", said.stdout)  # Bold letters are printed twice.
            for head in ("NAME", "SYNOPSIS", "SEE ALSO", "EXAMPLES?"):
                self.assertRegex(text, rf"(?m)^{head}$", page.name)

    # clap_mangen sets a break before each list of possible values, which has one already.
    BREAK = "skipping paragraph macro: br"

    def test_mandoc_reads_them_without_a_warning(self) -> None:
        self.need("mandoc")
        for page in self.pages:
            command = ["mandoc", "-Tlint", "-Wwarning", str(page)]
            said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            lines = [
                line
                for line in (said.stdout + said.stderr).splitlines()
                if NO_DATE not in line and self.BREAK not in line
            ]
            self.assertEqual(lines, [], page.name)

    def test_examples_stay_as_they_are(self) -> None:
        self.need("man")
        text = run("man", "-l", self.folder / "baskd-serve.1")
        self.assertIn("baskd serve                                   the embedded example\n", text)

    def test_a_command_that_is_not_there(self) -> None:
        ended = subprocess.run([binary(), "man", "serv"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(ended.returncode, 2)
        self.assertIn("there is no such command", ended.stderr)

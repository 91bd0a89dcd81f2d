"""The suites, in the order in which they run: what fails soonest and says most comes first."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from . import tools
from .runner import REPOSITORY, Failed, Shell, Suite

PYTHON = REPOSITORY / "python"
EXAMPLE = PYTHON / "examples" / "semantic_search"
NODE = REPOSITORY / "clients" / "node"
PYTHON_CLIENT = REPOSITORY / "clients" / "python"
SHELL_CLIENT = REPOSITORY / "clients" / "shell"
TESTS = REPOSITORY / "tests"


def build(shell: Shell) -> None:
    binary = tools.binary(shell)
    # What a package installs beside the binary. (A build script could not see the command line's definition.)
    assets = REPOSITORY / "target" / "assets"
    shutil.rmtree(assets, ignore_errors=True)
    completions = assets / "completions"
    completions.mkdir(parents=True)
    files = {"bash": "baskd", "zsh": "_baskd", "fish": "baskd.fish", "elvish": "baskd.elv", "powershell": "_baskd.ps1"}
    for name, file in files.items():
        (completions / file).write_text(shell.run(binary, "completions", name))
    shell.run(binary, "man", "--dir", assets / "man")
    shell.note(f"{len(list((assets / 'man').iterdir()))} manual pages and completions in target/assets")


def rust_lint(shell: Shell) -> None:
    shell.check("cargo", "fmt", "--all", "--check")
    shell.check("cargo", "fmt", "--check", "--manifest-path", TESTS / "bench" / "driver" / "Cargo.toml")
    shell.check("cargo", "fmt", "--check", "--manifest-path", TESTS / "fuzz" / "Cargo.toml")
    shell.check("cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings")


def rust(shell: Shell) -> None:
    if shutil.which("cargo-nextest"):
        shell.run("cargo", "nextest", "run", "--workspace", "--locked", "--no-fail-fast")
        shell.run("cargo", "test", "--workspace", "--locked", "--doc")
    else:
        shell.run("cargo", "test", "--workspace", "--locked", "--no-fail-fast")


def python_lint(shell: Shell) -> None:
    base = tools.python(shell, oldest=(3, 10))
    lint = tools.venv(shell, "lint", base, tools.REQUIREMENTS / "lint.txt")
    for folder in (PYTHON, EXAMPLE, PYTHON_CLIENT, TESTS):
        shell.check(lint, "-m", "ruff", "format", "--check", ".", cwd=folder)
        shell.check(lint, "-m", "ruff", "check", ".", cwd=folder)
    shell.check(lint, "-m", "mypy", "--config-file", "pyproject.toml", cwd=PYTHON)
    shell.check(lint, "-m", "mypy", cwd=PYTHON_CLIENT)
    shell.check(lint, "-m", "mypy", "--config-file", "mypy.ini", cwd=TESTS)
    # The example is judged with the libraries that it is run with.
    libraries = ("--python-executable", _semantic_python(shell))
    modules = sorted(path.name for path in EXAMPLE.glob("*.py"))
    shell.check(lint, "-m", "mypy", *libraries, *modules, cwd=EXAMPLE, env={"MYPYPATH": PYTHON})


def router(shell: Shell) -> None:
    found = tools.pythons()
    # And once with each of the faster codecs, which an interpreter may have.
    fast = [
        tools.venv(shell, codec, tools.python(shell), tools.REQUIREMENTS / f"{codec}.txt")
        for codec in ("msgspec", "orjson")
    ]
    tests = ("-m", "unittest", "discover", "-s", "tests", "-t", ".")
    interpreters = [*(Path(each.path) for each in found), *fast]
    shell.check_beside([(python, *tests) for python in interpreters], cwd=PYTHON)
    shell.note("CPython " + ", ".join(python.name for python in found) + ", msgspec, orjson")


def node_lint(shell: Shell) -> None:
    tools.node_modules(shell, NODE)
    shell.check("npm", "run", "--silent", "lint", cwd=NODE)
    shell.check("npm", "run", "--silent", "check", cwd=NODE)


def node(shell: Shell) -> None:
    tools.binary(shell)
    tools.node_modules(shell, NODE)
    shell.run("npm", "test", cwd=NODE)


def python_client(shell: Shell) -> None:
    tools.binary(shell)
    found = tools.pythons()
    tests = ("-W", "error::ResourceWarning", "-m", "unittest", "discover", "-s", "tests", "-t", ".")
    commands = [(python.path, *tests) for python in found]
    shell.check_beside(commands, cwd=PYTHON_CLIENT, env={"PYTHONPATH": PYTHON_CLIENT / "src"})
    shell.note("CPython " + ", ".join(python.name for python in found))


def shell_client(shell: Shell) -> None:
    tools.binary(shell)
    tools.program(shell, "socat", "socat")
    tools.program(shell, "shellcheck", "shellcheck")
    scripts = [path for path in sorted(SHELL_CLIENT.rglob("*")) if path.is_file() and _is_shell(path)]
    tests = [path for path in scripts if path.parent.name == "tests" and path.stat().st_mode & 0o100]
    if not tests:
        raise Failed("there are no executable tests in clients/shell/tests")
    shell.check("shellcheck", *scripts, TESTS.parent / ".ci" / "run")
    for test in tests:
        shell.check(test, cwd=SHELL_CLIENT)


def _is_shell(path: Path) -> bool:
    first = path.read_bytes().split(b"\n", 1)[0]
    return first.startswith(b"#!") and first.rstrip().endswith((b"sh", b"bash", b"dash"))


def wire(shell: Shell) -> None:
    tools.binary(shell)
    tools.program(shell, "socat", "socat")
    tools.program(shell, "tmux", "tmux")
    tools.program(shell, "curl", "curl")
    tools.program(shell, "groff", "groff-base")
    python = tools.python(shell).path
    modules = sorted(path.stem for path in (TESTS / "wire").glob("test_*.py"))
    shell.check_beside([(python, "-m", "unittest", f"wire.{module}") for module in modules], cwd=TESTS)


def crash(shell: Shell) -> None:
    tools.binary(shell)
    program = tools.program(shell, "node", "nodejs")
    output = shell.run(
        tools.python(shell).path,
        "-m",
        "crash.run",
        cwd=TESTS,
        env={"NODE": program},
    )
    shell.note(output.strip().splitlines()[-1])


def restarts(shell: Shell) -> None:
    tools.binary(shell)
    tools.program(shell, "socat", "socat")
    program = tools.program(shell, "node", "nodejs")
    command = (tools.python(shell).path, "-m", "unittest", "restarts.test_restarts")
    shell.run(*command, cwd=TESTS, env={"NODE": program})


def chaos(shell: Shell) -> None:
    tools.binary(shell)
    python = tools.python(shell).path
    shell.run(python, "-m", "unittest", "chaos.test_rules", "chaos.test_round", cwd=TESTS)
    output = shell.run(python, "-m", "chaos", cwd=TESTS)
    shell.note("scenarios: " + output.strip().splitlines()[-1])


def systemd(shell: Shell) -> None:
    tools.binary(shell)
    if os.geteuid() == 0:
        tools.program(shell, "systemctl", "systemd")
    python = tools.python(shell).path
    output = shell.run(python, "-m", "unittest", "discover", "-s", "systemd", "-t", ".", "-v", cwd=TESTS)
    for reason in sorted(set(re.findall(r"skipped ['\"](.*)['\"]$", output, re.M))):
        shell.note(f"skipped: {reason}")


def interop(shell: Shell) -> None:
    tools.binary(shell)
    tools.node_modules(shell, TESTS / "interop")
    python = tools.venv(shell, "interop", tools.python(shell), tools.REQUIREMENTS / "interop.txt")
    shell.run(python, "-m", "unittest", "discover", "-s", "interop", "-t", ".", cwd=TESTS)


def _semantic_python(shell: Shell) -> Path:
    base = tools.python(shell, oldest=(3, 10))
    # The list is complete as it is: without --no-deps, gigabytes that the example does not use would come along.
    return tools.venv(shell, "semantic", base, EXAMPLE / "requirements.txt", "--no-deps")


def example(shell: Shell) -> None:
    python = _semantic_python(shell)
    path = f"{EXAMPLE}:{PYTHON}"
    shell.run(python, "-m", "unittest", "discover", "-s", "tests", "-t", ".", cwd=EXAMPLE, env={"PYTHONPATH": path})


def semantic(shell: Shell) -> None:
    tools.binary(shell)
    tools.program(shell, "socat", "socat")
    program = tools.program(shell, "node", "nodejs")
    python = _semantic_python(shell)
    shell.run(
        tools.python(shell).path,
        "-m",
        "unittest",
        "semantic.test_semantic",
        cwd=TESTS,
        env={"SEMANTIC_PYTHON": python, "NODE": program},
    )


def demo(shell: Shell) -> None:
    output = shell.run("cargo", "run", "--release", "--locked", "--", "demo")
    for wanted in ("getModelPath", '{"model":"something"}', "--stream", "kill -KILL", "# done"):
        if wanted not in output:
            raise Failed(f"the demo did not show {wanted!r}")


SUITES = (
    Suite("build", "the release binary, which the other suites test, its manual pages and completions", build),
    Suite("rust-lint", "cargo fmt and clippy", rust_lint),
    Suite("rust", "the tests of the Rust workspace", rust),
    Suite("python-lint", "ruff and mypy, over all Python there is", python_lint),
    Suite("router", "python/tests, under every CPython from 3.9 to 3.13 found, and with msgspec and orjson", router),
    Suite("node-lint", "biome and tsc", node_lint),
    Suite("node", "the Node client", node),
    Suite("python-client", "the Python client, under every CPython found", python_client),
    Suite("shell-client", "the shell client, and shellcheck", shell_client),
    Suite("wire", "transcripts, framing, streams, cancelling, crashes, sockets: raw clients, real daemons", wire),
    Suite(
        "interop",
        "jayson, viem, ethers, web3, ws, vscode-jsonrpc, jsonrpcclient and Prometheus' parser, unmodified",
        interop,
    ),
    Suite(
        "systemd", "the units on a real `systemd --user`, in namespaces: takes root, and is skipped without", systemd
    ),
    Suite("crash", "100 kills of Python under the load of four clients", crash),
    Suite("restarts", "daemons are stopped and started under the load of every client, and no call is lost", restarts),
    Suite("chaos", "everything breaks, from a seed; a model checks what each client was told", chaos),
    Suite("example", "the semantic_search example by itself", example),
    Suite("semantic", "this repository searched by meaning, from Node, the command line and socat at once", semantic),
    Suite("demo", "README's first command", demo),
)

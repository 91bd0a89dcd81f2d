"""The units by themselves: systemd finds no fault with them, and what they say is what is set."""

from __future__ import annotations

import configparser
from pathlib import Path

from .instance import SystemdTest
from .machine import UNITS

#: How `systemctl show` prints what the units say, for what it does not print in the same words.
SHOWN = {
    "StartLimitIntervalSec": ("StartLimitIntervalUSec", "1min"),
    "TimeoutStartSec": ("TimeoutStartUSec", "11min"),
    "TimeoutStopSec": ("TimeoutStopUSec", "1min"),
    "RestartSec": ("RestartUSec", "200ms"),
    "WatchdogSec": ("WatchdogUSec", "30s"),
    "WatchdogSignal": ("WatchdogSignal", "9"),
    "LimitNOFILE": ("LimitNOFILESoft", "4096"),
    "SystemCallErrorNumber": ("SystemCallErrorNumber", "1"),
}
#: What is told by its effect (test_sandbox), or by what it does.
ELSEWHERE = ("SystemCallFilter", "RestrictNamespaces", "ExecStart", "ExecReload")


class Units(SystemdTest):
    def test_systemd_finds_no_fault_with_them(self) -> None:
        folder = self.file("verified")
        for path in UNITS.glob("baskd@.*"):
            # An instance's, since a template can't be started; and with a program that is there.
            text = path.read_text().replace("/usr/bin/baskd", "/bin/true")
            self.machine.write(folder / path.name, text)
        self.machine.write(folder / "baskd@.service.d" / "50-strict.conf", (UNITS / "strict.conf").read_text())
        units = [str(folder / f"baskd@chat.{kind}") for kind in ("socket", "service")]
        verified = self.machine.run("systemd-analyze", "verify", "--user", "--recursive-errors=no", "--man=no", *units)
        self.assertEqual(verified.stdout + verified.stderr, "")

    def test_what_they_say_is_what_is_set(self) -> None:
        instance = self.start()
        instance.call("add", [1, 2])  # The watchdog's time is told while it runs.
        said = directives(UNITS / "baskd@.service")
        expected = {}
        for name, value in said.items():
            if name not in ELSEWHERE:
                shown, printed = SHOWN.get(name, (name, value))
                expected[shown] = printed
        self.assertEqual({name: instance.property(name) for name in expected}, expected)
        socket = self.machine.show(
            instance.socket, "SocketMode", "DirectoryMode", "RemoveOnStop", "Backlog", "Accept", "Listen"
        )
        self.assertEqual(
            socket,
            {
                "SocketMode": "0600",
                "DirectoryMode": "0700",
                "RemoveOnStop": "yes",
                "Backlog": "4096",
                "Accept": "no",
                "Listen": f"{instance.path} (Stream)",
            },
        )

    def test_all_instances_share_a_slice(self) -> None:
        self.assertEqual(self.start().property("Slice"), "app-baskd.slice")

    def test_limits_of_memory_and_cpu_are_set(self) -> None:
        instance = self.start(
            service="MemoryHigh=3G\nMemoryMax=4G\nMemorySwapMax=0\nCPUQuota=150%\nCPUWeight=50\nTasksMax=200"
        )
        self.assertEqual(instance.call("add", [1, 2]), 3)
        limits = instance.show(
            "MemoryHigh", "MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "CPUWeight", "TasksMax"
        )
        self.assertEqual(
            limits,
            {
                "MemoryHigh": str(3 << 30),
                "MemoryMax": str(4 << 30),
                "MemorySwapMax": "0",
                "CPUQuotaPerSecUSec": "1.500000s",
                "CPUWeight": "50",
                "TasksMax": "200",
            },
        )
        # And while it runs, for one instance or for all.
        self.machine.systemctl("set-property", "--runtime", instance.service, "MemoryMax=1G")
        self.machine.systemctl("set-property", "--runtime", "app-baskd.slice", "MemoryMax=8G")
        self.assertEqual(instance.property("MemoryMax"), str(1 << 30))
        self.assertEqual(self.machine.show("app-baskd.slice", "MemoryMax")["MemoryMax"], str(8 << 30))
        self.machine.systemctl("set-property", "--runtime", "app-baskd.slice", "MemoryMax=infinity")


def directives(unit: Path) -> dict[str, str]:
    """What a unit says of the service and of how it is started."""
    parser = configparser.RawConfigParser(strict=True, comment_prefixes=("#",), delimiters=("=",))
    # As they are written.
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit)
    said = {name: value for name, value in parser["Unit"].items() if name.startswith("StartLimit")}
    return said | dict(parser["Service"])

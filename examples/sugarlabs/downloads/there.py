"""An installation inside an internet of its own, and the clients that ask it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.first.command import StoryError, run
from examples.first.installation import Installation
from examples.sugarlabs.downloads.internet import Internet
from examples.sugarlabs.downloads.replay import LIST

WORKING_DIRECTORY = Path(__file__).parents[3]
_COUNTED = """\
import json
from django.db.models import Sum
from commonfarm.mirrors import registry_tasks
from commonfarm.mirrors.models import FileCount, MirrorCount
registry_tasks.take_up_counts(0)
def sums(rows, *names):
    rows = rows.values_list(*names).annotate(Sum("downloads"), Sum("size"))
    return {"/".join(row[:-2]): row[-2:] for row in rows}
mirrors = sums(MirrorCount.objects.all(), "mirror")
print(json.dumps({"mirrors": mirrors, "files": sums(FileCount.objects.all(), "tree", "path")}))
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the redirector counted of all days: downloads and bytes by mirror ("" is ourselves) and
    by `tree/path`.
    """

    mirrors: dict[str, tuple[int, int]]
    files: dict[str, tuple[int, int]]


class InstallationThere(Installation):
    """An installation whose processes and commands run inside an internet of its own."""

    def __init__(self, internet: Internet, name: str, home: Path) -> None:
        super().__init__(name, {"COMMONFARM_HOME": str(home)})
        self._command = internet.command(*self._command)
        self._internet = internet
        self._clients: subprocess.Popen[str] | None = None
        self.config_file = home / f"etc/{name}.toml"

    def down(self) -> None:
        """Stop all processes, clients too."""
        if self._clients is not None:
            self._clients.kill()
            self._clients.communicate()
            self._clients = None
        super().down()

    def ask(self, client: str, path: str) -> dict[str, Any]:
        """Have the address `client` ask the redirector for `tree/path`: see `replay.ask`."""
        if self._clients is None:
            url = self.status_or_fail()["redirector"]
            module = "examples.sugarlabs.downloads.replay"
            self._clients = subprocess.Popen(
                self._internet.command(sys.executable, "-m", module, url),
                cwd=WORKING_DIRECTORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._clients.stdin is not None
        assert self._clients.stdout is not None
        self._clients.stdin.write(json.dumps({"client": client, "path": path}) + "\n")
        self._clients.stdin.flush()
        line = self._clients.stdout.readline()
        if not line:
            raise StoryError(f"who asks for {path} ended with {self._clients.wait()}")
        return dict(json.loads(line))

    def left_out(self, client: str, path: str) -> dict[str, str]:
        """Return which mirrors are left out for a client, and why, by the map that the redirector
        has in force ("": there is no list). Nothing is counted by that.
        """
        listed = self.ask(client, path + LIST)
        if "left_out" not in listed:
            return {"": f"answered {listed['status']}"}
        return {one["mirror"]: one["reason"] for one in listed["left_out"]}

    def in_hub(self, code: str) -> str:
        """Run Python as a process with the installation's tables; return what it printed."""
        setup = "import django; django.setup()\n"
        environment = self.environment | {
            "COMMONFARM_CONFIG": str(self.config_file),
            "DJANGO_SETTINGS_MODULE": "commonfarm.web.settings",
        }
        return run(sys.executable, "-c", setup + code, environment=environment)

    def counted(self) -> Counted:
        """Have what lies in the spool taken up; return what the redirector counted by now."""
        said = json.loads(self.in_hub(_COUNTED))
        pairs = {kind: {key: (row[0], row[1]) for key, row in said[kind].items()} for kind in said}
        return Counted(pairs["mirrors"], pairs["files"])

"""What every test may use: a real PostgreSQL of its own and an installation's configuration.

Loaded by `-p tests.environment` before pytest-django sets Django up, since the settings need it.
"""

from __future__ import annotations

import atexit
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from commonfarm.installation.postgres import EmbeddedPostgres
from commonfarm.installation.unveil import code, unveil
from commonfarm.lib.config import Listen, default, dump

# As root PostgreSQL and others are users of their own: a checkout below /root must be open to them.
unveil([*Path(__file__).parents[1].iterdir(), *code()])

_home = Path(tempfile.mkdtemp(prefix="cf-test-"))
_home.chmod(0o755)
_cleaner = subprocess.Popen(
    [sys.executable, Path(__file__).with_name("cleaning.py"), _home],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    start_new_session=True,
)
_me = pwd.getpwuid(os.getuid()).pw_name
_config = default(
    "test", _home / "config.toml", _home / "state", _home / "run", Listen("127.0.0.1", 0, 0, 0, 0)
)
_config.file.write_text(dump(_config))
for _directory in (
    _config.state / "secrets",
    _config.store,
    _config.published,
    _config.signer_socket.parent,
):
    _directory.mkdir(parents=True, exist_ok=True)
_config.secret_key_file.write_text("only-for-tests")
os.environ["COMMONFARM_CONFIG"] = str(_config.file)
os.environ["DJANGO_SETTINGS_MODULE"] = "commonfarm.web.settings"

_postgres = EmbeddedPostgres(
    data=_home / "postgres",
    socket_directory=Path(_config.database.host),
    runs_as="nobody" if os.getuid() == 0 else None,
    peers={_me: ["commonfarm", "commonfarm_signer"]},
)
# As after Ctrl-C the tests' processes are stopped and their folders removed.
signal.signal(signal.SIGTERM, signal.default_int_handler)
_postgres.prepare()
with (_home / "postgres" / "postgresql.conf").open("a") as _more:
    # What is lost when the machine itself stops may be lost: it is made anew each time.
    _more.write("fsync = off\nfull_page_writes = off\n")
_server = _postgres.start(_home / "postgres.log")
_postgres.create("commonfarm", "commonfarm", readers=("commonfarm_signer",))
with _postgres.connect() as _connection:
    _connection.execute("ALTER ROLE commonfarm CREATEDB")


@atexit.register
def _clean_up() -> None:
    _cleaner.communicate()

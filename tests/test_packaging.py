"""What people install, in each of the ways they install it, is whole."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

ROOT = Path(__file__).parent.parent

NOT_SOURCE = shutil.ignore_patterns(
    ".*", "__pycache__", "_trial_temp*", "_build", "build", "dist", "*.egg-info", "dropin.cache*"
)

TWISTD = "from twisted.scripts.twistd import run; run()"

BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])('dist'))"


def run(*command: object, cwd: Path) -> str:
    """Run a program without our paths and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    if ended.returncode:
        raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stdout}")
    return ended.stdout


class PackagingTests(SynchronousTestCase):
    """Wheel, source distribution and editable install, each used from another directory."""

    def setUp(self) -> None:
        """A copy of the sources, so that nothing is built into the real ones."""
        if not (ROOT / "setup.cfg").exists():
            raise SkipTest("needs the source tree")
        self.source = Path(self.mktemp()).absolute() / "source"
        shutil.copytree(ROOT, self.source, ignore=NOT_SOURCE)
        self.elsewhere = self.source.parent / "elsewhere"
        self.elsewhere.mkdir()

    def build(self, kind: str) -> Path:
        """Build a ``wheel`` or an ``sdist``."""
        printed = run(sys.executable, "-c", BUILD, f"build_{kind}", cwd=self.source)
        return self.source / "dist" / printed.splitlines()[-1]

    def install(self, *what: object) -> Path:
        """Install into a new virtual environment and return its ``bin``.

        Dependencies are borrowed from the environment of the tests. A path in a .pth file brings
        no further .pth files with it, so that our own editable install is not borrowed.
        """
        venv = self.source.parent / "venv"
        run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=self.elsewhere)
        (packages,) = venv.glob("lib/python*/site-packages")
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install"]
        offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
        run(*pip, *offline, *what, cwd=self.elsewhere)
        return venv / "bin"

    def check_installed(self, bin: Path, home: Path) -> None:
        """Both commands work from another directory, with the code that is at *home*."""
        python = bin / "python"
        where = run(
            python, "-c", "import tunnelmesh; print(tunnelmesh.__file__)", cwd=self.elsewhere
        )
        self.assertIn(home, Path(where.strip()).parents)
        self.assertIn("A coordinator, or a peer", run(python, "-c", TWISTD, cwd=self.elsewhere))
        helped = run(python, "-c", TWISTD, "tunnelmesh", "--help", cwd=self.elsewhere)
        self.assertIn("--role=coordinator|peer", helped)
        told = run(python, "-c", TWISTD, "tunnelmesh", "--version", cwd=self.elsewhere)
        self.assertEqual(told, f"tunnelmesh {version('tunnelmesh')}\n")
        self.assertIn("invite", run(bin / "tunnelmesh", "--help", cwd=self.elsewhere))

    def test_wheel(self) -> None:
        """A wheel holds the package and the plugin, nothing else, and works."""
        wheel = self.build("wheel")
        with ZipFile(wheel) as archive:
            names = set(archive.namelist())
        inside = {name for name in names if ".dist-info/" not in name}
        self.assertEqual({name.split("/")[0] for name in inside}, {"tunnelmesh", "twisted"})
        self.assertEqual(
            {name for name in inside if name.startswith("twisted")},
            {"twisted/plugins/tunnelmesh_plugin.py"},
        )
        sources = (ROOT / "tunnelmesh").rglob("*.py")
        expected = {source.relative_to(ROOT).as_posix() for source in sources}
        pages = (ROOT / "tunnelmesh" / "coordinator" / "dashboard" / "files").iterdir()
        expected |= {page.relative_to(ROOT).as_posix() for page in pages}
        self.assertLessEqual(expected | {"tunnelmesh/py.typed"}, inside)
        bin = self.install(wheel)
        self.check_installed(bin, bin.parent)

    def test_sdist(self) -> None:
        """A source distribution holds what is needed to test and document it, and works."""
        sdist = self.build("sdist")
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for path in (
            "LICENSE",
            "Makefile",
            "README.md",
            "docs/conf.py",
            "pyproject.toml",
            "ruff.toml",
            "setup.cfg",
            "tac/coordinator.tac",
            "tac/peer.tac",
            "tests/__init__.py",
            "tests/test_packaging.py",
            "tests/tun/test_device.py",
            "towncrier.toml",
            "twisted/plugins/tunnelmesh_plugin.py",
        ):
            self.assertIn(path, names)
        bin = self.install(sdist)
        self.check_installed(bin, bin.parent)

    def test_editable(self) -> None:
        """An editable install is found by Twisted's plugin search, which walks sys.path."""
        bin = self.install("--editable", self.source)
        self.check_installed(bin, self.source)

    def test_twisted_is_not_shadowed(self) -> None:
        """No ``__init__.py`` of ours takes the place of Twisted's."""
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

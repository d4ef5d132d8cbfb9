"""The command line. Each command is a function; what a command prints for a program goes to standard output,
progress and errors go to standard error."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MeshlabError
from .settings import Settings

if TYPE_CHECKING:
    from .lab import Lab

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def up(args: argparse.Namespace) -> int:
    """start the lab: an empty cluster (a second up finds it running)"""
    from .cluster.capture import possible
    from .cluster.daemon import start
    from .lab import link_commands
    from .settings import Capture

    began = time.monotonic()
    settings = Settings.load()
    capture = None
    if args.capture:
        capture = possible(settings, say) if args.capture == "auto" else Capture(args.capture)
    running = start(settings, capture=capture)
    settings = Settings.load()
    link_commands(settings)
    state = f"up after {time.monotonic() - began:.2f} s" if running.started else "already up"
    print(f"{state}: {running.server}")
    print(f"export KUBECONFIG={settings.kubeconfig}")
    return 0


def down(_: argparse.Namespace) -> int:
    """stop everything that the lab started; its objects stay for the next up"""
    from .cluster.daemon import stop

    settings = Settings.load()
    left = stop(settings)
    for line in left:
        say(f"left: {line}")
    print(f"down. Kept in {settings.home}: the database, keys and logs (meshlab reset forgets them too)")
    return 1 if left else 0


def reset(_: argparse.Namespace) -> int:
    """stop the lab and delete what it keeps: the next up starts from nothing"""
    import shutil

    from .cluster.daemon import stop

    settings = Settings.load()
    if left := stop(settings):
        say("not deleted, because something still runs: " + ", ".join(left))
        return 1
    kept = {settings.bin}  # kubectl, istioctl and meshlab itself, which are on somebody's PATH
    for path in {settings.sockets, *settings.home.glob("*")} - kept:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    print(f"deleted the database, keys and logs in {settings.home}")
    return 0


def status(_: argparse.Namespace) -> int:
    """is the lab up, and what runs in it"""
    from .cluster.daemon import status as ask

    settings = Settings.load()
    found = ask(settings)
    if not found.running:
        print(f"down ({found.why})\n  next:    meshlab up")
        return 1
    how = settings.network.capture.value
    print(f"up: {found.server}, process {found.pid}, capture by {how}", flush=True)  # before what kubectl prints
    from .lab import environment

    env = {**os.environ, **environment(settings, os.environ)}
    return subprocess.run([settings.bin / "kubectl", "get", "pods", "-A"], env=env, check=False).returncode


def kubeconfig(_: argparse.Namespace) -> int:
    """print the path of the lab's kubeconfig"""
    settings = Settings.load()
    print(settings.kubeconfig)
    if not settings.kubeconfig.exists():
        say("no lab has been up yet\n  next:    meshlab up")
        return 1
    return 0


def env(_: argparse.Namespace) -> int:
    """print the shell lines that put the lab's kubectl and istioctl on your PATH: eval "$(meshlab env)" """
    import shlex

    from .lab import environment, link_commands

    settings = Settings.load()
    link_commands(settings)  # meshlab itself is to be found, too, before the first up
    for name, value in environment(settings, os.environ).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """say what the lab needs of this machine and what is missing; --fix fetches Prometheus"""
    from .doctor import examine, fetch_iptables, fetch_prometheus

    settings = Settings.load()
    if args.fix:
        say("fetching Debian's packages prometheus (22 MB) and iptables (0.5 MB) …")
        fetch_prometheus(settings)
        try:
            fetch_iptables(settings)
        except MeshlabError as error:  # needed for one kind of capture only: its absence is a finding below
            say(f"meshlab: {error}")
    worst = 0
    for finding in examine(settings):
        print(finding)
        worst = max(worst, finding.level == "missing")
    return worst


def start(args: argparse.Namespace) -> int:
    """bring up the lab with the whole tutorial and open the workbook; --headless executes it to HTML"""
    from .workbook import headless, jupyter, prepare

    lab = prepare(say)
    if args.headless is None:
        return jupyter(lab, args.jupyter, browser=not args.no_browser, report=say)
    return headless(lab, Path(args.headless).absolute(), report=say)


def tour(args: argparse.Namespace) -> int:  # noqa: RET503 - execv does not return
    """walk through the lessons in this terminal; --html executes them to HTML instead"""
    from .workbook import headless, prepare

    if args.html is not None:
        return headless(prepare(say), Path(args.html).absolute(), report=say, only=args.lesson)
    sys.stdout.flush()
    # A program of its own: only the notebook room knows IPython.
    os.execv(sys.executable, [sys.executable, "-m", "meshlab.notebook.tour", *args.lesson])


#: Of all the tests; tests/sharing.py says which stay together.
WORKERS = ("-n", "2")


def test(args: argparse.Namespace) -> int:
    """run all the tests; words after it go to pytest"""
    from .browser import fetch_browser
    from .doctor import fetch_iptables, fetch_prometheus

    settings = Settings.load()
    fetch_prometheus(settings)
    for fetch, what in ((fetch_iptables, "of capture by iptables"), (fetch_browser, "in a browser")):
        try:
            fetch(settings)
        except MeshlabError as error:
            say(f"{error}\ntests {what} will be skipped")
    os.chdir(ROOT)
    single = any(word.startswith("tests/") for word in args.pytest)
    words = [sys.executable, "-m", "pytest", *(() if single else WORKERS), *args.pytest]
    sys.stdout.flush()
    os.execv(sys.executable, words)


def preflight(args: argparse.Namespace) -> int:
    """say what is on a cluster and what is missing for the lessons; changes nothing"""
    found = _lab(args).preflight()
    print(found)
    return 0 if found.ok else 1


def install(args: argparse.Namespace) -> int:
    """install Istio (by its Helm charts) and what the lessons need on a cluster; a second install goes on"""
    lab = _lab(args)
    seconds = lab.install(**({"small": True} if args.small else {}), **({"charts": args.charts} if args.charts else {}))
    print(f"installed after {seconds:.1f} s: {', '.join(f'{what} {v}' for what, v in lab.engine.versions().items())}")
    return 0


def uninstall(args: argparse.Namespace) -> int:
    """remove from a cluster exactly what meshlab made there"""
    done = _lab(args).uninstall()
    print(f"{len(done)} things; nothing else was touched")
    return 0


def _lab(args: argparse.Namespace) -> Lab:
    from .lab import connect

    # Somebody at a terminal can be asked; a program has to pass --confirm.
    ask = input if sys.stdin.isatty() else None
    return connect(context=args.context, confirm=args.confirm or "", ask=ask, report=say)


COMMANDS = (start, tour, up, down, status, reset, env, kubeconfig, doctor, preflight, install, uninstall, test)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="meshlab", description="A service mesh to learn with, on one machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for function in COMMANDS:
        text = (function.__doc__ or "").strip()
        sub = commands.add_parser(function.__name__, help=text, description=text[:1].upper() + text[1:] + ".")
        sub.set_defaults(run=function)
        if function is up:
            sub.add_argument(
                "--capture",
                choices=["shim", "iptables", "auto"],
                help="how connections come to the sidecar of a new lab: by a start-up shim of Python programs (as is "
                "usual), by iptables in network namespaces (any program), or by whichever this machine allows",
            )
        elif function is tour:
            sub.add_argument("lesson", nargs="*", help="numbers of lessons, 00 to 13 (all)")
            sub.add_argument("--html", metavar="DIR", help="execute the lessons and write HTML with an index to DIR")
        elif function in (preflight, install, uninstall):
            sub.add_argument("--context", help="a context of your kubeconfig ($MESHLAB_CONTEXT; else the embedded lab)")
            sub.add_argument("--confirm", metavar="CONTEXT", help="its name again, if it looks like production")
            if function is install:
                sub.add_argument("--small", action="store_true", help="ask for less CPU and memory than Istio does")
                sub.add_argument("--charts", metavar="DIR", help="a folder with Istio's charts, not its repository")
        elif function is doctor:
            sub.add_argument("--fix", action="store_true", help="fetch what a Debian package can give")
        elif function is start:
            sub.add_argument(
                "--headless",
                nargs="?",
                const="out",
                metavar="DIR",
                help="no browser: execute the notebooks and write HTML to DIR (out)",
            )
            sub.add_argument("--no-browser", action="store_true", help="print the address of JupyterLab only")
            sub.add_argument("jupyter", nargs="*", help="further words for jupyter lab, after --")
    commands.add_parser("istioctl", help="the istioctl of the lab: kube-inject, create, replace, get, delete, …")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 1 for an error that is named, 2 for wrong words."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["istioctl"]:
        from .istioctl.main import main as istioctl

        return istioctl(words[1:])
    args, more = parser().parse_known_args(words)
    if args.command == "test":
        args.pytest = more
    elif more:
        parser().error(f"unrecognized arguments: {' '.join(more)}")
    try:
        return int(args.run(args))
    except MeshlabError as error:
        say(f"meshlab: {error}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; what was started goes on\n  next:    meshlab status, or meshlab down")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0

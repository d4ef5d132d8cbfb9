"""`istioctl`: commands of Istio 0.4.0's tool and some of today's, with their outputs, errors and exit codes.

Also `meshlab istioctl …`. What the original printed on standard output is printed there; errors go to standard
error as `Error: …`, and the exit code is then 255 as the original's was. `validate` is ours and exits with 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from meshlab.errors import MeshlabError
from meshlab.istioctl.flags import Flag, Parsed, UsageError, parse, usage

if TYPE_CHECKING:
    from meshlab.istioctl.server import RuleServer

__all__ = ["main"]

FAILED = 255
_FILE = Flag("file", "", "Input file with the content of the configuration objects (- for standard input)", "f")
#: Ours: the original returned when a rule was stored.
_WAIT = Flag("wait", False, "Return when every sidecar concerned has acknowledged the change", "w")
_GLOBAL = (
    Flag("kubeconfig", "", "Kubernetes configuration file ($KUBECONFIG, else the lab's)", "c"),
    Flag("namespace", "", "Config namespace", "n"),
    Flag("istioNamespace", "istio-system", "Istio system namespace", "i"),
    Flag("platform", "kube", "Istio host platform", "p"),
    # Of the original's logging; there is nothing here that they could change.
    Flag("v", 0, "log level for V logs", "v"),
    Flag("logtostderr", True, "log to standard error instead of files"),
    Flag("vmodule", "", "comma-separated list of pattern=N settings for file-filtered logging"),
    Flag("log_backtrace_at", "", "when logging hits line file:N, emit a stack trace"),
)


@dataclass(frozen=True)
class Streams:
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO


@dataclass(frozen=True)
class Command:
    """One command: how it is typed, what it does, its own flags, and the function."""

    use: str
    short: str
    run: Callable[[Parsed, Streams], int]
    flags: tuple[Flag, ...] = ()
    hidden: bool = False


class _ShowUsage(MeshlabError):
    """The command line is wrong in a way after which the original showed how it is used."""


def main(
    argv: Sequence[str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    stdin: TextIO | None = None,
) -> int:
    """Runs one command; its exit code. Streams default to the process's own."""
    words = list(sys.argv[1:] if argv is None else argv)
    streams = Streams(stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr)
    commands = _commands()
    name = _first_word(words)
    if name is None or name == "help":
        streams.stdout.write(_help(commands))
        return 0
    if name not in commands:
        return _fail(streams, f'unknown command "{name}" for "istioctl"\nRun \'istioctl --help\' for usage.')
    command = commands[name]
    words.remove(name)
    try:
        flags = parse(words, (*_GLOBAL, *command.flags))
        if flags.help:
            streams.stdout.write(_usage(command))
            return 0
        return command.run(flags, streams)
    except UsageError as error:
        return _fail(streams, str(error))
    except _ShowUsage as error:
        streams.stderr.write(_usage(command) + "\n")
        return _fail(streams, str(error))
    except MeshlabError as error:
        return _fail(streams, str(error))
    except UnicodeDecodeError as error:
        return _fail(streams, f"the input is not UTF-8: {error.reason} at byte {error.start}")
    except BrokenPipeError:
        return FAILED  # whoever read our output has gone; there is nobody to tell
    except OSError as error:
        what = f"open {error.filename}: " if error.filename else ""
        return _fail(streams, f"{what}{(error.strerror or str(error)).lower()}")


def _first_word(words: Sequence[str]) -> str | None:
    """The first word that is neither a flag nor a flag's value: `create -n a` and `-n a create` are the same."""
    takes_value = {f"--{flag.name}" for flag in _GLOBAL if not isinstance(flag.default, bool)}
    takes_value |= {f"-{flag.letter}" for flag in _GLOBAL if flag.letter}
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in takes_value
        else:
            return word
    return None


def _commands() -> dict[str, Command]:
    get_output = Flag("output", "short", "Output format. One of:yaml|short", "o")
    several = Flag("file", "", "File to validate; may be repeated (- for standard input)", "f", repeated=True)
    from meshlab.istioctl.inject_flags import FLAGS

    removed = "Istio Mixer configuration (removed in favor of kubectl)"
    inputs = Flag("filename", "", "File to convert; may be repeated (- for standard input)", "f", repeated=True)
    analyzed = "File or folder to analyze; may be repeated (- for standard input)"
    looked_at = Flag("filename", "", analyzed, "f", repeated=True)
    from meshlab.istioctl.explain import FLAGS as EXPLAIN
    from meshlab.istioctl.proxies import CONFIG_FLAGS, STATUS_FLAGS

    config = Command(
        "proxy-config all|bootstrap|cluster|ecds|endpoint|listener|log|route|secret POD[.NAMESPACE]",
        "Show what a proxy was configured with (short: pc)", _proxy_config, CONFIG_FLAGS,
    )
    status = Command(
        "proxy-status [POD[.NAMESPACE]]", "Say which proxies have the newest configuration (short: ps)", _proxy_status,
        STATUS_FLAGS,
    )
    return {
        "analyze": Command(
            "analyze [FILE ...]", "Say what is probably wrong in files, in the lab, or in both", _analyze, (
                looked_at,
                Flag("use-kube", True, "Use the live lab for analysis", "k"),
                Flag("all-namespaces", False, "Analyze all namespaces", "A"),
                Flag("list-analyzers", False, "List the messages that there are", "L"),
                Flag("output", "log", "Output format: one of log, json, yaml", "o"),
                Flag("failure-threshold", "Error", "The level at which findings make the command fail"),
                Flag("suppress", "", "Suppress a message, as IST0101=VirtualService svcb.default", "S", repeated=True),
            ),
        ),
        "convert": Command(
            "convert -f FILE [FILE ...]", "Convert rules of v1alpha2 to networking.istio.io/v1", _convert, (
                inputs, Flag("output", "", "Output file (standard output)", "o"),
            ),
        ),
        "create": Command("create -f FILE", "Create policies and rules", _create, (_FILE, _WAIT)),
        "delete": Command(
            "delete <type> <name> [<name2> ... <nameN>] | -f FILE", "Delete policies or rules", _delete, (_FILE,)
        ),
        "explain": Command("explain URL", "Say hop by hop what becomes of a request", _explain, EXPLAIN),
        "get": Command("get <type> [<name>]", "Retrieve policies and rules", _get, (get_output,)),
        "kube-inject": Command(
            "kube-inject -f FILE", "Inject Envoy sidecar into Kubernetes pod resources", _kube_inject, FLAGS
        ),
        "mixer": Command("mixer", removed, _mixer, (_FILE,), hidden=True),
        "pc": replace(config, hidden=True),
        "proxy-config": config,
        "proxy-status": status,
        "ps": replace(status, hidden=True),
        "replace": Command("replace -f FILE", "Replace existing policies and rules", _replace, (_FILE, _WAIT)),
        "validate": Command(
            "validate -f FILE [FILE ...]", "Say whether documents are valid; needs no lab", _validate, (several,)
        ),
        "version": Command("version", "Display version information", _version),
    }


def _input(flags: Parsed, streams: Streams) -> str:
    """The text of -f. Raises MeshlabError, OSError."""
    name = flags.text("file")
    if not name:
        raise MeshlabError("filename not specified (see --filename or -f)")
    return streams.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")


def _create(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl import rules
    from meshlab.istioctl.server import RuleServer

    if flags.args:
        raise _ShowUsage("create takes no arguments")
    text, server = _input(flags, streams), RuleServer(flags.text("kubeconfig"))
    rules.create(text, flags.text("namespace"), server, streams.stdout)
    _warn(text, streams)
    return _waited(flags, server, streams)


def _replace(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl import rules
    from meshlab.istioctl.server import RuleServer

    if flags.args:
        raise _ShowUsage("replace takes no arguments")
    text, server = _input(flags, streams), RuleServer(flags.text("kubeconfig"))
    rules.replace(text, flags.text("namespace"), server, streams.stdout)
    _warn(text, streams)
    return _waited(flags, server, streams)


def _warn(text: str, streams: Streams) -> None:
    """Says what was stored and has no effect; 0.4.0 kept silent."""
    from meshlab.mesh.config.documents import read
    from meshlab.mesh.config.unheeded import warnings

    for document in read(text):
        for told in warnings(document.stored):
            streams.stderr.write(f"Warning: {document.kind} {document.name}: {told}\n")


def _waited(flags: Parsed, server: RuleServer, streams: Streams) -> int:
    if flags.on("wait"):
        streams.stdout.write(server.in_force() + "\n")
    return 0


def _delete(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl import rules
    from meshlab.istioctl.server import RuleServer

    namespace = flags.text("namespace")
    if flags.text("file"):
        if flags.args:
            raise _ShowUsage("delete takes no arguments when the file option is used")
        text = _input(flags, streams)
        rules.delete_file(text, namespace, RuleServer(flags.text("kubeconfig")), streams.stdout)
    else:
        if len(flags.args) < 2:
            raise _ShowUsage("provide configuration type and name or -f option")
        typed, *names = flags.args
        rules.find_kind(typed)  # what is wrong with the type can be said without a cluster
        rules.delete_names(typed, names, namespace, RuleServer(flags.text("kubeconfig")), streams.stdout)
    return 0


def _get(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl import rules
    from meshlab.istioctl.server import RuleServer

    if not flags.args:
        known = ", ".join(rules.supported_types())
        raise _ShowUsage(f"specify the type of resource to get. Types are {known}")
    try:
        rules.find_kind(flags.args[0])
    except rules.CommandError as error:
        raise _ShowUsage(str(error)) from None
    name = flags.args[1] if len(flags.args) > 1 else None
    server = RuleServer(flags.text("kubeconfig"))
    rules.get(flags.args[0], name, flags.text("namespace"), flags.text("output"), server, streams.stdout)
    return 0


def _kube_inject(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl import kube_inject

    kube_inject.run(flags, streams.stdin, streams.stdout, streams.stderr)
    return 0


def _mixer(flags: Parsed, streams: Streams) -> int:
    raise MeshlabError("this method of configuring Mixer is removed in favor of kubectl")


def _validate(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl.validate import verdicts

    names = [*flags.lists.get("file", ()), *flags.args]
    if not names:
        raise MeshlabError("filename not specified (see --filename or -f)")
    worst = 0
    for name in names:
        try:
            text = streams.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            streams.stdout.write(f"{name}: invalid: the input is not UTF-8: {error.reason} at byte {error.start}\n")
            worst = 1
            continue
        empty = True
        for _, why in verdicts(text):
            empty = False
            streams.stdout.write(f"{name}: invalid: {why}\n" if why else f"{name}: valid\n")
            worst = max(worst, int(bool(why)))
        if empty:
            streams.stderr.write(f"{name}: no documents\n")
    return worst


def _convert(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl import convert

    names = [*flags.lists.get("filename", ()), *flags.args]
    return convert.run(names, flags.text("output"), streams.stdin, streams.stdout, streams.stderr)


def _analyze(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl import analyze

    if flags.on("list-analyzers"):
        streams.stdout.write(analyze.checks())
        return 0
    return analyze.run(
        [*flags.lists.get("filename", ()), *flags.args],
        streams.stdin,
        streams.stdout,
        streams.stderr,
        kubeconfig=flags.text("kubeconfig"),
        namespace="" if flags.on("all-namespaces") else flags.text("namespace"),
        use_kube=flags.on("use-kube"),
        output=flags.text("output"),
        threshold=flags.text("failure-threshold"),
        suppress=flags.lists.get("suppress", ()),
    )


def _explain(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl.explain import explain

    return explain(flags, streams.stdout)


def _proxy_config(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl.proxies import proxy_config

    return proxy_config(flags, streams.stdin, streams.stdout)


def _proxy_status(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl.proxies import proxy_status

    return proxy_status(flags, streams.stdout)


def _version(flags: Parsed, streams: Streams) -> int:
    from meshlab.istioctl.version import version_text

    streams.stdout.write(version_text() + "\n")
    return 0


def _fail(streams: Streams, text: str) -> int:
    streams.stderr.write(f"Error: {text}\n")
    return FAILED


def _help(commands: dict[str, Command]) -> str:
    shown = {name: command for name, command in commands.items() if not command.hidden}
    width = max(map(len, shown))
    lines = [f"  {name:<{width}} {command.short}" for name, command in shown.items()]
    return (
        "Istio configuration command line utility.\n\n"
        "Create, list, modify, and delete configuration resources in the Istio\nsystem.\n\n"
        "Usage:\n  istioctl [command]\n\nAvailable Commands:\n" + "\n".join(lines) + "\n\n"
        "Flags:\n" + usage(_GLOBAL) + "\n\n"
        'Use "istioctl [command] --help" for more information about a command.\n'
    )


def _usage(command: Command) -> str:
    own = f"Flags:\n{usage(command.flags)}\n\n" if command.flags else ""
    return f"{command.short}\n\nUsage:\n  istioctl {command.use} [flags]\n\n{own}Global Flags:\n{usage(_GLOBAL)}\n"


if __name__ == "__main__":
    sys.exit(main())

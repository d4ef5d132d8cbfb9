"""The istioctl that stands on PATH while a lab works on a cluster.

It is the lab's own, with three differences: `kube-inject` marks pods for istiod's webhook; what `create`, `replace`
and `delete` stored is translated into the kinds that the cluster's Istio knows; and istiod is asked where it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ..access import Access
from ..errors import MeshlabError
from ..istioctl.flags import UsageError, parse
from ..istioctl.inject_flags import FLAGS
from ..istioctl.main import FAILED
from ..istioctl.main import main as plain
from .found import look
from .inject import inject
from .manifests import demo, msgd_address
from .rules import sync

__all__ = ["main"]

_WRITING = ("create", "replace", "delete")
#: Commands that ask istiod, and the flags by which its namespace is given.
_ASKING, _NAMESPACE = ("proxy-status", "ps"), ("-i", "--istioNamespace")


def main(argv: Sequence[str] | None = None, stdout: TextIO | None = None, stderr: TextIO | None = None) -> int:
    """Runs one command; its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    out, err = stdout or sys.stdout, stderr or sys.stderr
    try:
        if "kube-inject" in words:
            return _kube_inject([word for word in words if word != "kube-inject"], out)
        if any(word in _ASKING for word in words) and not any(word.startswith(_NAMESPACE) for word in words):
            istio = look(_access()).istio
            words += ["--istioNamespace", istio.namespace] if istio else []
        status = plain(words, out, err)
        if status == 0 and any(word in _WRITING for word in words):
            done = sync(_access())
            for line in done.changes:
                err.write(f"{line}\n")
        return status
    except (MeshlabError, UsageError) as error:
        err.write(f"Error: {error}\n")
        return FAILED


def _access() -> Access:
    return Access(Path(os.environ["KUBECONFIG"].split(os.pathsep)[0]), patience=20.0, hint="meshlab preflight")


def _kube_inject(words: Sequence[str], out: TextIO) -> int:
    import yaml

    flags = parse(list(words), FLAGS)
    name = flags.text("filename")
    if not name:
        raise MeshlabError("filename not specified (see --filename or -f)")
    text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    access = _access()
    istio = look(access).istio
    revision, ranges = istio.revision if istio else "default", flags.text("includeIPRanges")
    # A manifest that was written for the embedded lab names images that no registry has.
    documents = demo([each for each in yaml.safe_load_all(text) if each], msgd_address(access))
    out.write(yaml.safe_dump_all([inject(each, revision, ranges) for each in documents], sort_keys=False, width=110))
    return 0

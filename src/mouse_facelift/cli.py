"""The console command `mouse-facelift`: a table of verbs, each of them an application with a `main(argv)`.

Nothing heavy is imported here. A verb's module, and with it torch, ray or diffusers, is imported when that verb runs,
so that `mouse-facelift --help` answers at once. Every application is also a module (`python -m pipelines.preprocess`),
which calls `run_verb(main)`: bad input then ends in one line and a status other than zero either way.
"""

from __future__ import annotations

import difflib
import importlib
import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TextIO

from mouse_facelift import __version__
from mouse_facelift.errors import InputError

PROG = "mouse-facelift"

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("pipelines.demo", "a rendered recording -> shards -> trained model -> splats -> report.html"),
    "preprocess": ("pipelines.preprocess", "recordings -> a dataset of multi-view samples"),
    "import-facelift": ("pipelines.import_facelift", "FaceLift's sample folders -> a dataset"),
    "export-facelift": ("pipelines.export_facelift", "a dataset -> FaceLift's sample folders and list files"),
    "import-weights": ("pipelines.import_weights", "FaceLift's ckpt_*.pt -> a checkpoint to start from or to use"),
    "export-weights": ("pipelines.export_weights", "a GS-LRM checkpoint -> FaceLift's ckpt_*.pt"),
    "inspect": ("pipelines.inspect", "a recording, a dataset or a run -> what is there, and can it be trusted"),
    "train gslrm": ("training.gslrm", "a dataset -> a model that turns views into 3-D Gaussians"),
    "encode": ("pipelines.encode", "a dataset -> what a pipeline's frozen encoders say of it, once for all training"),
    "train mvdiffusion": ("training.mvdiffusion", "a dataset -> a model that turns one image into six views"),
    "tune": ("tune.app", "a dataset and a search space -> the settings that train best, and by how much"),
    "synthesize": ("pipelines.synthesize", "a dataset and a diffusion model -> generated samples to train a GS-LRM on"),
    "reconstruct": ("pipelines.reconstruct", "a dataset and a model -> Gaussians, turntables and a report"),
    "evaluate": ("pipelines.evaluate", "runs and baselines side by side on held-out views -> scores and a report"),
    "view": ("pipelines.view", "Gaussians, sequences and datasets -> 3-D in a browser tab, side by side and over time"),
    "export": ("pipelines.export", "results -> PLY, .splat, mesh, video; a sample -> nerfstudio or COLMAP"),
    "cluster-files": ("cluster.render", "a cluster's profile -> checked files for ray up, KubeRay and Slurm"),
    "doctor": ("cluster.doctor", "what would fail on this machine or a cluster, and the cure"),
    "submit": ("cluster.submit", "`submit --address URL -- VERB ...`: any verb on a cluster, with this tree's code"),
    "job": ("cluster.job", "jobs on a cluster: list, status, attach, stop"),
}
"""What a person types -> the module whose `main(argv)` does it, and what that is in one line."""

Main = Callable[[Sequence[str] | None], int | None]

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells expect."""

READER_GONE = 141
"""Exit status when the reader of the output has left (`| head`): 128 + SIGPIPE, what shells see of other programs. The
signal itself stays ignored: it would kill a run, Ray's processes left behind, for any connection that breaks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0 on success, 1 for input that cannot be used, 2 for a command line that cannot be understood,
        `INTERRUPTED` or `READER_GONE`.
    """
    return _run(_command, argv)


def run_verb(main: Main, argv: Sequence[str] | None = None) -> NoReturn:
    """Run an application's `main` and leave the process with its exit status; for `if __name__ == "__main__"`."""
    sys.exit(_run(main, argv))


def _command(argv: Sequence[str] | None) -> int | None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"{PROG} {__version__}")
        return 0
    # The longest name wins: `train gslrm` before a possible `train`.
    for words in (2, 1):
        verb = " ".join(arguments[:words])
        if verb in VERBS:
            return _load(VERBS[verb][0])(arguments[words:])
    print(f"{PROG}: {_unknown(arguments)}", file=sys.stderr)
    return 2


def _load(module: str) -> Main:
    return importlib.import_module(module).main


def _run(main: Main, argv: Sequence[str] | None) -> int:
    try:
        try:
            status = _in_one_line(main, argv)
        except SystemExit:
            # How `--help` ends.
            _flush()
            raise
        _flush()
        return status
    except BrokenPipeError:
        gone = [stream for stream in _outputs() if _reader_is_gone(stream)]
        if not gone:
            raise
        for stream in gone:
            _discard(stream)
        return READER_GONE


def _in_one_line(main: Main, argv: Sequence[str] | None) -> int:
    try:
        return main(argv) or 0
    except InputError as error:
        # Ray hands a worker's InputError over with the remote traceback as its text; the original is its cause.
        original = getattr(error, "cause", error)
        status = getattr(original, "exit_status", 1)
        print(f"error: {original}" if status == 1 else original, file=sys.stderr)
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _flush() -> None:
    """What is still buffered would otherwise fail where nobody can catch it, in the interpreter's last moments."""
    for stream in _outputs():
        stream.flush()


def _outputs() -> list[TextIO]:
    """Without those that were closed before the start (`>&-`), which Python has as None."""
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def _reader_is_gone(stream: TextIO) -> bool:
    """Whether a stream is a pipe that nobody reads any more; a broken pipe may also be another one, as to a program."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except OSError:  # no file at all
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard(stream: TextIO) -> None:
    """Whatever is written to a stream from now on, by the interpreter at its end too, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _help() -> str:
    width = max(map(len, VERBS)) + 2
    rows = "\n".join(f"  {verb:<{width}}{summary}" for verb, (_, summary) in VERBS.items())
    return (
        f"usage: {PROG} VERB [options]\n\n"
        "Synchronised videos of a mouse in, 3-D Gaussians of the animal out.\n\n"
        f"{rows}\n\n"
        f"`{PROG} VERB --help` lists a verb's options, units and defaults."
    )


def _unknown(arguments: Sequence[str]) -> str:
    first = arguments[0]
    seconds = [verb.split()[1] for verb in VERBS if verb.startswith(f"{first} ")]
    if seconds:
        return f"{first} needs to know what: {' or '.join(f'`{PROG} {first} {second}`' for second in seconds)}"
    near = difflib.get_close_matches(first, {verb.split()[0] for verb in VERBS}, n=1)
    hint = f"did you mean {near[0]}?" if near else f"`{PROG} --help` lists the verbs"
    return f"unknown verb {first} ({hint})"


if __name__ == "__main__":
    sys.exit(main())

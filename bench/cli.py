"""The command `prunebench`: what can be typed, and the exit status. What the commands do is in bench.commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import commands, runfolders
from bench.errors import UserError
from bench.outlasting import outlasting
from bench.publish import warn
from bench.running.interrupts import interruptible


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (something failed), 2 (refused) or 130 (interrupted)."""
    arguments = _parser().parse_args(argv)
    with outlasting():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        with interruptible(ends=True):
            return int(arguments.run(arguments) or 0)
    except UserError as error:
        warn(str(error))
        return 2
    except OSError as error:
        warn(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
        return 2
    except KeyboardInterrupt:
        warn("interrupted; finished trials are kept, the same command goes on")
        return 130


def _comma(text: str) -> list[str]:
    items = text.split(",")
    if not all(items):
        raise argparse.ArgumentTypeError(f"'{text}' lacks a name: for example l1,dcff")
    return items


def _millions(text: str) -> float:
    try:
        return float(text.removesuffix("M"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of millions: for example 60M") from None


def _numbers(text: str) -> list[int]:
    items = text.split(",")
    if not all(item.isdecimal() for item in items):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of whole numbers from 0 on: for example 0,1,2")
    return [int(item) for item in items]


def _whole(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1 on")
    return int(text)


def _sizes(text: str) -> list[int]:
    return [_whole(item) for item in text.split(",")]


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0 < (share := float(text)) <= 1:
            return share
    raise argparse.ArgumentTypeError(f"'{text}' is no share above 0 and up to 1: for example 0.5")


def _shares(text: str) -> list[float]:
    with suppress(argparse.ArgumentTypeError):
        return [_share(item) for item in text.split(",")]
    raise argparse.ArgumentTypeError(f"'{text}' is no list of shares above 0 and up to 1: for example 0.7,0.5")


def _shard(text: str) -> tuple[int, int]:
    share, _, shares = text.partition("/")
    if not (share.isdecimal() and shares.isdecimal() and 1 <= int(share) <= int(shares)):
        raise argparse.ArgumentTypeError(f"'{text}' is no share: give I/N with I from 1 to N, such as 2/8")
    return int(share), int(shares)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        parser.exit(message=", ".join(f"{name} {version(name)}" for name in ("prunebench", "torch", "timm")) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prunebench", description="Compare filter-pruning methods honestly.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print it, and torch's and timm's")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Any, name: str = "") -> argparse.ArgumentParser:
        one = subparsers.add_parser(name or function.__name__, help=function.__doc__, description=function.__doc__)
        one.set_defaults(run=function)
        return one

    parser_run = command(commands.run)
    parser_run.add_argument("suite", help="a name from `prunebench list suites`, or a YAML file")
    parser_run.add_argument("--out", type=Path, help="run folder (default: runs/NAME)")
    parser_run.add_argument(
        "--only",
        type=_comma,
        default=[],
        metavar="METHODS",
        help="such as l1,dcff, or a trial's key; the trials that these depend on run too",
    )
    parser_run.add_argument(
        "--seeds", type=_numbers, default=[], metavar="SEEDS", help="such as 0,1,2 in place of the suite's"
    )
    parser_run.add_argument("--keep", type=_shares, default=[], metavar="SHARES", help="such as 0.5, of its keep_macs")
    parser_run.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="I/N", help="the I-th of N shares of it, for job arrays"
    )
    parser_run.add_argument("--scheduler", choices=["ray", "inline"], default="ray", help="default: ray")
    parser_run.add_argument("--address", help="HOST:PORT of a Ray cluster, or auto (default: Ray on this machine)")
    parser_run.add_argument("--retry-failed", action="store_true", help="run trials again whose method failed")
    parser_run.add_argument("--dry-run", action="store_true", help="print the trials and their estimated cost")

    parser_status = command(commands.status)
    parser_status.add_argument("suite", help="a suite's name or file, or a run folder")
    parser_status.add_argument("--out", type=Path, help="run folder (default: runs/NAME)")

    parser_report = command(commands.report)
    parser_report.add_argument(
        "folders", nargs="*", type=Path, help="run folders or suite names (default: all of runs/)"
    )
    parser_report.add_argument(
        "--out",
        type=Path,
        help="where the tables are (default: FOLDER/report, of several ./report; with --check leaderboards/tables)",
    )
    parser_report.add_argument(
        "--keep", type=_shares, default=[], metavar="SHARES", help="such as 0.5: these operating points alone"
    )
    parser_report.add_argument("--figures", action="store_true", help="figures for papers too, as PDF and SVG")
    parser_report.add_argument("--check", action="store_true", help="write nothing: fail where the tables differ")
    parser_report.add_argument(
        "--results", type=Path, default=runfolders.RESULTS, help="what --check reads (default: %(default)s)"
    )

    parser_show = command(commands.show)
    parser_show.add_argument("key", help="a record's key, its beginning, or its record.json")
    parser_show.add_argument(
        "folders", nargs="*", type=Path, help="where to look (default: all of runs/, and the reviewed results)"
    )

    parser_measure = command(commands.measure)
    parser_measure.add_argument("folders", nargs="+", type=Path, help="run folders, suite names, or records")
    parser_measure.add_argument("--machine", metavar="NAME", help="its name in tables (default: its GPU, or its CPU)")
    parser_measure.add_argument("--threads", type=_whole, help="of the CPU (default: torch's choice)")
    parser_measure.add_argument(
        "--batch", type=_sizes, default=[], metavar="SIZES", help="default: 1,64 on a CPU, 1,256 on a GPU"
    )
    parser_measure.add_argument("--rounds", type=_whole, default=15, help="of dense and compact (default: %(default)s)")
    parser_measure.add_argument("--loaded", action="store_true", help="although other work runs; marked so in tables")

    parser_verify = command(commands.verify)
    parser_verify.add_argument("records", nargs="+", type=Path, help="record files, or folders of them")
    parser_verify.add_argument("--network", type=Path, help="its compact network (default: beside the record)")
    parser_verify.add_argument("--root", help="where an image-folder data set lies on this machine")

    parser_sync = command(commands.sync)
    parser_sync.add_argument("folders", nargs="*", type=Path, help="run folders or suite names (default: all of runs/)")
    parser_sync.add_argument("--project", help="W&B project (default: the suite's)")
    parser_sync.add_argument("--entity", help="W&B team or user (default: the suite's, or the account's own)")

    parser_pull = command(commands.pull)
    parser_pull.add_argument("project", metavar="ENTITY/PROJECT", help="of W&B")
    parser_pull.add_argument("--out", type=Path, help="run folder (default: runs/SUITE, or runs/PROJECT)")
    parser_pull.add_argument("--suite", help="its records only")
    parser_pull.add_argument("--models", action="store_true", help="all compact networks, not only the dense ones")

    parser_list = command(commands.list_names, "list")
    parser_list.add_argument("what", choices=["methods", "backbones", "datasets", "suites"])
    parser_list.add_argument("--json", action="store_true")

    parser_logs = command(commands.logs)
    parser_logs.add_argument("key", help="a trial's key, or its beginning")
    parser_logs.add_argument("--out", type=Path, help="run folder (default: all of runs/)")

    parser_profile = command(commands.profile)
    parser_profile.add_argument("backbone")
    parser_profile.add_argument("--dataset", help="its classes and image size (default: by the backbone's name)")
    parser_profile.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as shortcut=B")
    parser_profile.add_argument("--json", action="store_true")

    parser_fetch = command(commands.fetch)
    parser_fetch.add_argument("dataset")
    parser_fetch.add_argument("--from", dest="source", type=Path, help="a folder with the official files")

    parser_new = command(commands.new_method, "new-method")
    parser_new.add_argument("name", help="such as my_method")
    parser_new.add_argument("--out", type=Path, default=Path(), help="where its folder goes (default: here)")

    parser_check = command(commands.check_method, "check-method")
    parser_check.add_argument("name", help="of an installed method")
    parser_check.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a hyper-parameter, such as warm_up=1"
    )
    parser_check.add_argument("--epochs", type=_whole, default=4, help="of training (default: %(default)s)")
    parser_check.add_argument("--backbone", default="cifar_resnet20", help="default: %(default)s")

    parser_export = command(commands.export)
    parser_export.add_argument("network", help="a trial's key, or its beginning, or a model.safetensors")
    parser_export.add_argument("--to", choices=["onnx", "torch"], default="onnx")
    parser_export.add_argument("--out", type=Path, help="the new file (default: beside the network's)")

    parser_coverage = command(commands.coverage)
    parser_coverage.add_argument("--methods", type=_comma, metavar="METHODS", help="such as l1,dcff (default: all)")
    parser_coverage.add_argument("--backbones", type=_comma, metavar="BACKBONES", help="default: one of each kind")
    parser_coverage.add_argument("--family", choices=["cnn"], help="in their place all convolutional networks of timm")
    parser_coverage.add_argument("--max-params", type=_millions, metavar="60M", help="leave larger ones out")
    parser_coverage.add_argument("--keep", type=_share, default=0.5, help="share of the MACs (default: 0.5)")
    parser_coverage.add_argument("--limit", type=float, default=60, help="CPU seconds for a cell (default: 60)")
    parser_coverage.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop then, and write what there is"
    )
    parser_coverage.add_argument("--again", action="store_true", help="check the cells that failed anew")
    parser_coverage.add_argument("--out", type=Path, help="a Markdown file for the table (default: print it)")
    parser_coverage.add_argument("--json", type=Path, help="where finished cells are kept (default: under runs/)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

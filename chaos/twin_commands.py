"""What `compare` and `calibrate` do, apart from arguments and exit codes; and the file they leave."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import ValidationError

from chaos import yaml_text
from chaos.calibration import FORMAT, Calibration, calibrate
from chaos.comparison import compare
from chaos.errors import ClusterError, InvalidSpec
from chaos.events import RunOpened
from chaos.history import History
from chaos.report.comparison import render_comparison
from chaos.report.comparison_picture import draw_comparison
from chaos.report.table import table
from chaos.sim.latency import Latencies
from chaos.spec import read_text, read_yaml
from chaos.store import find, machine_id

TWIN = "sim"
PICTURE = "comparison.png"


def compare_runs(
    a: str, b: str, *, store: Path, tolerance_s: float, picture: Path | None = None, as_json: bool = False
) -> str:
    """Two recorded runs held against each other, told and drawn; without `picture`, beside the history of the second.

    Raises:
        InvalidSpec: there is no such run, or it does not say what was asked for.
        ClusterError: the picture cannot be written.
    """
    found = [find(run, store) for run in (a, b)]
    comparison = compare(*(History.load(run.history) for run in found), tolerance_s=tolerance_s)
    path = picture or found[1].path / PICTURE
    try:
        draw_comparison(comparison, path)
    except (OSError, ValueError) as error:
        raise ClusterError(f"{path}: the picture cannot be written: {error}; give another file by --picture") from error
    if as_json:
        return comparison.model_dump_json(indent=1)
    return f"{render_comparison(comparison)}\n\npicture: {path}"


def calibrate_from(runs: list[str], *, store: Path, into: Path) -> str:
    """Fits the twin's latencies to recorded runs of a real cluster, writes them to a file, and tells what they are.

    Raises:
        InvalidSpec: there is no such run, it is one of the twin, or the runs cannot serve.
        ClusterError: the file cannot be written.
    """
    histories = []
    for run in runs:
        history = History.load(find(run, store).history)
        opened = history.first(RunOpened)
        if opened is not None and opened[1].cluster == TWIN:
            raise InvalidSpec(f"{run}: a run of the twin says nothing of a real cluster; give runs of local or compose")
        histories.append(history)
    calibration = calibrate(histories, machine=machine_id())
    try:
        into.write_text(f"{_HEAD}{yaml_text.dump(calibration.model_dump(mode='json'))}")
    except OSError as error:
        raise ClusterError(f"{into}: cannot be written: {error.strerror}; give another file by --into") from error
    return "\n".join([*fit_lines(calibration), "", f"calibration: {into}"])


_HEAD = """\
# Latencies of the twin's model, fitted by `raychaos calibrate`, for `raychaos run --cluster sim --calibration FILE`.
"""


def fit_lines(calibration: Calibration) -> list[str]:
    """The quantities that were fitted, and what each rests on."""
    data = calibration.latencies.model_dump()
    rows = []
    for name, fitted in calibration.fits.items():
        value = data
        for part in name.split("."):
            value = value[part]
        rows.append((name, str(fitted.samples), *_words(value), str(len(fitted.outliers) or ""),
                     "too few samples: not fitted" if fitted.too_few else ""))  # fmt: skip
    return table(("quantity", "samples", "median", "spread", "outliers", ""), rows, right=(1, 2, 3, 4))


def _words(value: dict[str, float] | float | None) -> tuple[str, str]:
    """A distribution's median, and by what factor two thirds of its values lie within; or a number."""
    if value is None:
        return "–", ""
    if isinstance(value, float):
        return f"{value:.2f}", ""
    median = f"{value['median_s']:.3f} s" if "median_s" in value else f"× {value['median']:.3f}"
    return median, f"×÷ {math.exp(value['sigma']):.2f}"


def latencies_from(path: Path) -> Latencies:
    """The latencies a calibration file holds.

    Raises:
        InvalidSpec: the file cannot be read, or is no calibration of this version.
    """
    data, _ = read_yaml(read_text(path), name=str(path))
    try:
        calibration = Calibration.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec(
            f"{path}: no calibration: at {place or 'the top'}: {first['msg']}; `raychaos calibrate RUN…` writes one"
        ) from error
    if calibration.format != FORMAT:
        raise InvalidSpec(f"{path}: calibration format {calibration.format}, this raychaos reads format {FORMAT}")
    return calibration.latencies

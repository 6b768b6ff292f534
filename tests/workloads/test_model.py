"""The model is a function of its size and seed, and each row's answer of that row alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workloads.model import build_model
from workloads.predictor import Predictor, read_devices
from workloads.sizes import CLASSES
from workloads.verify import TOLERANCE_FLOAT16, TOLERANCE_FLOAT32, expected_logits

ROW_IDS = np.arange(64, dtype=np.int64)


def test_same_seed_same_weights_other_seed_other_weights() -> None:
    first, again, other = (build_model("tiny", seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_building_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    build_model("tiny", seed=9)
    assert torch.equal(torch.rand(1), expected)


def test_answers_do_not_depend_on_the_batch() -> None:
    whole = expected_logits("tiny", 0, ROW_IDS, batch_rows=64)
    for batch_rows in (1, 7):
        parts = expected_logits("tiny", 0, ROW_IDS, batch_rows=batch_rows)
        np.testing.assert_allclose(parts, whole, atol=TOLERANCE_FLOAT32 / 10)
    shuffled = np.random.default_rng(0).permutation(ROW_IDS)
    np.testing.assert_allclose(
        expected_logits("tiny", 0, shuffled, batch_rows=32), whole[shuffled], atol=TOLERANCE_FLOAT32 / 10
    )


def test_rows_differ_by_far_more_than_the_tolerance() -> None:
    """So a row that holds another row's answer is found."""
    logits = expected_logits("tiny", 0, np.arange(512, dtype=np.int64), batch_rows=64)
    distances = np.abs(logits[:, np.newaxis] - logits[np.newaxis]).max(axis=2)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 2 * TOLERANCE_FLOAT16


def test_half_precision_stays_within_its_tolerance() -> None:
    """bfloat16 on the CPU, eight times coarser than the float16 used on CUDA, is already within it."""
    from workloads.images import halve, make_images
    from workloads.sizes import SHAPES

    images = torch.from_numpy(halve(make_images(ROW_IDS, side_px=SHAPES["tiny"].source_side_px)))
    model = build_model("tiny", seed=0)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images).float().numpy()
    assert np.abs(logits - expected_logits("tiny", 0, ROW_IDS, batch_rows=64)).max() < TOLERANCE_FLOAT16


@pytest.mark.skipif(torch.cuda.is_available(), reason="on CUDA the modelled device time is ignored")
def test_the_predictor_takes_the_modelled_time_and_logs_its_batch(tmp_path: object) -> None:
    import json
    import time
    from pathlib import Path

    from workloads.images import halve, make_images

    assert isinstance(tmp_path, Path)
    predictor = Predictor(data=str(tmp_path), size="tiny", model_seed=0, device_ms_per_batch=150.0)
    began_s = time.monotonic()
    table = predictor({"row_id": ROW_IDS, "image": halve(make_images(ROW_IDS, side_px=64))})
    assert time.monotonic() - began_s >= 0.15
    assert table.column_names == ["row_id", "logits", "predicted"]
    logits = table["logits"].combine_chunks().flatten().to_numpy().reshape(-1, CLASSES)
    np.testing.assert_allclose(logits, expected_logits("tiny", 0, ROW_IDS, batch_rows=64), atol=TOLERANCE_FLOAT32)
    (log,) = (tmp_path / "ops").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["phase"], line["rows"]) for line in lines] == [("invoked", "0-63"), ("completed", "0-63")]
    assert [(device.device, device.precision) for device in read_devices(tmp_path)] == [("cpu", "float32")]

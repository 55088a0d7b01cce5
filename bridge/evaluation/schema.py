"""The columns of result rows, their types, and the check of a column that was read from a file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from bridge.evaluation.assignment import FIXED_PARTS
from bridge.evaluation.sums import METRICS
from bridge.tasks.base import SUITE_VERSION

TEXT, INT, REAL = pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.float64()

COLUMNS: dict[str, pa.DataType] = {
    # the task
    "suite_version": INT,
    "family": TEXT,
    "family_hash": TEXT,
    "split": TEXT,
    "axis": TEXT,
    "level": INT,
    "shift_distance": REAL,
    "delta_prior": REAL,
    "task_id": INT,
    "task_params": TEXT,
    "train_task_share": REAL,
    # the agent
    "method": TEXT,
    "method_version": TEXT,
    "model_id": TEXT,
    "seed": INT,
    "eval_seed": INT,
    "clue": TEXT,
    "supervision": TEXT,
    "adapts": TEXT,
    "decode_rule": TEXT,
    "selection_rule": TEXT,
    "tuning_configs": INT,
    "exact_reference": TEXT,
    # the place on the curve
    "track": TEXT,
    "trial": INT,
    "part": INT,
    "curve_point": INT,
    "k_episodes": INT,
    "k_transitions": INT,
    # the results
    **{f"{metric}_{part}": REAL for metric in METRICS for part in ("n", "sum", "sum_sq")},
    # the costs
    "test_grad_steps": REAL,
    "test_refused_steps": REAL,
    "test_seconds": REAL,
    "test_flops": REAL,
    "tokens": INT,
    "train_env_steps": INT,
    "train_grad_steps": INT,
    "train_seconds": REAL,
    "train_flops": REAL,
    "params_total": INT,
    "params_trained": INT,
    # diagnostics of later parts
    "first_action_ok": REAL,
    "surprise": REAL,
    "detector_scores": TEXT,
    "parse_fail": REAL,
    "prompt_format_id": TEXT,
    # provenance
    "size": TEXT,
    "device": TEXT,
    "config_hash": TEXT,
    "git_sha": TEXT,
}
"""Type of each column. ``trial`` (for rows of one trial) and ``delta_prior`` (a relation between rows) are null.

``train_task_share`` is the share of a row's trials whose task is a training task: 0 or 1 in a row of one task; null if
training tasks are drawn from a continuum.
"""

IDENTITY = (
    "family",
    "family_hash",
    "split",
    "axis",
    "level",
    "shift_distance",
    "task_id",
    "method",
    "seed",
    "clue",
    "supervision",
    "adapts",
    "exact_reference",
    "track",
    "part",
    "curve_point",
    "k_episodes",
    "k_transitions",
    "config_hash",
)
"""Columns that have a value in every row."""

SCHEMA = pa.schema(list(COLUMNS.items()), metadata={"suite_version": str(SUITE_VERSION)})


def checked(name: str, table: pa.Table) -> pa.ChunkedArray:
    """A column of a table that was read, as the type that ``COLUMNS`` gives.

    Raises:
        ValueError: the column is missing or there twice, of another type, or holds a value that no evaluation gives.
    """
    count, kind = table.column_names.count(name), COLUMNS[name]
    if count != 1:
        raise ValueError(f"expected once in the file, found {count} times")
    column = table[name]
    if column.type != kind:
        try:
            column = column.cast(kind)
        except pa.ArrowException:
            raise ValueError(
                f"expected {'text' if kind == TEXT else kind}, found {column.type}"
            ) from None
    if name in IDENTITY and column.null_count:
        raise ValueError(f"expected a value in every row, found none in {column.null_count:,}")
    if kind == REAL and not np.isfinite(column.drop_null().to_numpy()).all():
        raise ValueError("expected finite numbers, found NaN or infinity")
    if name == "part":
        parts = column.to_numpy()
        if not np.isin(parts, np.arange(FIXED_PARTS)).all():
            raise ValueError(
                f"expected 0 to {FIXED_PARTS - 1}, found numbers from {parts.min()} to {parts.max()}"
            )
    return column
